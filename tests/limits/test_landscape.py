"""Losses over a hyperparameter in the limit: optima, drift with depth, and files."""

import csv
import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Progress
from mutransfer.limits import (
    Landscape,
    Landscapes,
    Problem,
    landscape,
    simulate,
    solve,
    two_classes,
)

RATES = [2.0**power for power in range(-9, 2)]
INPUTS, TARGETS = two_classes("digits")


def problem(**changes: Any) -> Problem:
    return Problem(**{"inputs": INPUTS, "targets": TARGETS, "lr": 0.05, "steps": 6, **changes})


def octaves(found: Landscape) -> list[float]:
    return [
        math.log2(curve.optimum) if curve.optimum is not None else math.nan
        for curve in found.curves
    ]


@pytest.fixture(scope="module")
def scaled() -> Landscape:
    return landscape(problem(steps=8), values=RATES, depth=[1, 2, 4, 8, 16, math.inf])


@pytest.fixture(scope="module")
def unscaled() -> Landscape:
    return landscape(problem(steps=8, alpha=0.0), values=RATES, depth=[1, 2, 4])


@pytest.fixture(scope="module")
def small() -> Landscape:
    """With a rate that diverges and finite networks."""
    return landscape(
        problem(),
        values=[0.0625, 0.125, 0.25, 64.0],
        depth=[1, 2, math.inf],
        width=[16, 32],
        seeds=3,
    )


# Optima


def test_with_depth_scaling_the_optimum_converges(scaled: Landscape) -> None:
    at = octaves(scaled)
    away = np.abs(np.array(at[:-1]) - at[-1])
    assert (np.diff(away) < 0).all() and away[-1] < 0.1
    assert scaled.drift() == pytest.approx(at[-1] - at[0]) and abs(scaled.drift()) < 1.2


def test_without_depth_scaling_the_optimum_runs_away(
    scaled: Landscape, unscaled: Landscape
) -> None:
    at = octaves(unscaled)
    assert at[0] == pytest.approx(octaves(scaled)[0], abs=1e-9)
    assert (np.diff(at) < -0.8).all()
    assert unscaled.drift() < -3 < 3 * (octaves(scaled)[2] - octaves(scaled)[0])


def test_losses_are_those_of_the_limit(small: Landscape) -> None:
    for curve in small.curves[:3]:
        assert math.isinf(curve.width)
        expected = [solve(problem(lr=lr), curve.depth).losses.mean() for lr in small.values[:3]]
        np.testing.assert_allclose(curve.losses[:3], expected, rtol=1e-12)
        assert math.isinf(curve.losses[3]) and bool(curve.errors.any()) == math.isinf(curve.depth)


def test_finite_networks_follow_for_every_finite_depth(small: Landscape) -> None:
    assert [(curve.width, curve.depth) for curve in small.curves[3:]] == [
        (16, 1),
        (16, 2),
        (32, 1),
        (32, 2),
    ]
    curve, p = small.curves[4], problem(lr=0.125)
    losses = p.losses(simulate(p, 16, 2, 3)).mean(1)
    assert curve.losses[1] == pytest.approx(losses.mean())
    assert curve.errors[1] == pytest.approx(losses.std(ddof=1) / math.sqrt(3))
    assert all(math.isinf(curve.losses[-1]) and curve.errors[-1] == 0 for curve in small.curves)


def test_wide_networks_have_the_optimum_of_the_limit() -> None:
    found = landscape(problem(), values=RATES[5:], depth=[2], width=[16, 64, 256], seeds=6)
    limit, *finite = octaves(found)
    away = np.abs(np.array(finite) - limit)
    # Near divergence the best rate is more sensitive to width than the losses are.
    assert (np.diff(away) < 0).all() and away[-1] < 0.3 < 0.7 < away[0]
    np.testing.assert_allclose(found.curves[-1].losses[:3], found.curves[0].losses[:3], rtol=0.1)


@pytest.mark.parametrize(("metric", "depth"), [("mean", 2), ("final", 2), ("mean", math.inf)])
def test_the_optimum_is_that_of_a_fine_grid(metric: Any, depth: float) -> None:
    found = landscape(problem(steps=8), values=RATES[5:], depth=[depth], metric=metric)
    (curve,) = found.curves
    assert curve.optimum is not None
    losses: dict[float, float] = {}

    def solve_at(octaves: np.ndarray) -> float:
        for octave in octaves:
            with suppress(MutransferError):
                limit = solve(problem(steps=8, lr=2.0**octave), depth).losses
                losses[octave] = limit[-1] if metric == "final" else limit.mean()
        return min(losses, key=lambda octave: losses[octave])

    # Infinite depth takes time: an eighth of an octave shows the valley, and its floor follows.
    valley = solve_at(np.arange(-4, 0, 1 / 8 if depth == math.inf else 1 / 32))
    best = solve_at(np.arange(valley - 1 / 4, valley + 1 / 4, 1 / 32))
    assert abs(math.log2(curve.optimum) - best) <= 1 / 32
    points = found.points(curve)
    assert points.losses.min() <= losses[best] * (1 + 1e-9)
    assert points.losses[points.values == curve.optimum] == points.losses.min()


def test_further_points_are_solved_like_the_given_ones(scaled: Landscape) -> None:
    for curve in scaled.curves[::5]:
        further = curve.further
        assert len(curve.losses) == len(RATES) and 0 < len(further.values) <= 12
        assert not np.isin(further.values, RATES).any()
        for value, loss in zip(further.values, further.losses, strict=True):
            assert loss == solve(problem(steps=8, lr=value), curve.depth).losses.mean()
    again = Landscape.from_json(json.dumps(scaled.to_json(), allow_nan=False))
    assert again.rows() == scaled.rows() and str(again) == str(scaled)


@pytest.mark.parametrize("metric", ["final", "mean"])
def test_the_metric_is_the_final_or_the_mean_loss(metric: Any) -> None:
    found = landscape(problem(), values=[0.1], depth=[2], metric=metric)
    losses = solve(problem(lr=0.1), 2).losses
    assert found.curves[0].losses[0] == (
        losses[-1] if metric == "final" else pytest.approx(losses.mean())
    )


def test_sampled_limits_have_errors() -> None:
    found = landscape(
        problem(activation="tanh", steps=2), values=[0.1, 64.0], depth=[1], accuracy=0.1
    )
    exact = landscape(problem(activation="linear", steps=2), values=[0.1], depth=[1])
    assert 0 < found.curves[0].errors[0] < 0.1 and exact.curves[0].errors[0] == 0


@pytest.mark.parametrize(
    ("values", "edge"),
    [(RATES[:3], True), (RATES[2:6], True), (RATES[5:7], True), (RATES, False)],
    ids=["low", "high", "two", "inside"],
)
def test_an_optimum_at_the_edge_is_none(values: list[float], edge: bool) -> None:
    found = landscape(problem(), values=values, depth=[2, 4])
    assert [curve.optimum is None for curve in found.curves] == [edge, edge]
    if edge:
        message = "at depth 2 the best lr lies at the edge of the values, .* add values beyond it"
        with pytest.raises(MutransferError, match=message):
            found.drift()
        assert str(found).count("at the edge") == 2


def test_where_every_value_diverges_there_is_no_optimum() -> None:
    found = landscape(problem(), values=[64.0, 128.0, 256.0], depth=[1, 2])
    assert all(np.isinf(curve.losses).all() and curve.optimum is None for curve in found.curves)
    assert str(found).count("diverges") == 2


def test_networks_whose_loss_is_no_number_have_diverged() -> None:
    p = problem(lr=1e6, steps=40)
    assert np.isnan(p.losses(simulate(p, 4, 1))).any()
    found = landscape(problem(steps=40), values=[1e6], depth=[1], width=[4])
    assert [curve.losses[0] for curve in found.curves] == [math.inf, math.inf]


# Other hyperparameters


@pytest.mark.parametrize(
    ("over", "values", "fixed"),
    [
        ("momentum", [0.0, 0.3, 0.6, 0.9], {"lr": 0.1}),
        ("weight_decay", [0.0, 0.5, 1.0], {"lr": 0.1}),
        ("gamma0", [0.5, 1.0, 2.0], {}),
        ("beta0", [0.5, 1.0, 2.0], {}),
    ],
    ids=["momentum", "weight_decay", "gamma0", "beta0"],
)
def test_any_hyperparameter_may_be_varied(
    over: str, values: list[float], fixed: dict[str, float]
) -> None:
    found = landscape(problem(**fixed), values=values, depth=[2], over=over)
    expected = [solve(problem(**{**fixed, over: value}), 2).losses.mean() for value in values]
    np.testing.assert_allclose(found.curves[0].losses, expected, rtol=1e-12)
    assert found.over == over and len(set(expected)) == len(expected)


def test_a_schedule_may_be_varied_by_a_function() -> None:
    def half_time(p: Problem, value: float) -> Problem:
        return replace(p, schedule=lambda step: 0.5 ** (step / value))

    found = landscape(
        problem(lr=0.5), values=[0.5, 1.0, 2.0], depth=[2, math.inf], over=("half time", half_time)
    )
    schedules = [[0.5 ** (step / value) for step in range(6)] for value in (0.5, 1.0, 2.0)]
    limits = [solve(problem(lr=0.5, schedule=schedule), 2) for schedule in schedules]
    expected = [limit.losses.mean() for limit in limits]
    np.testing.assert_allclose(found.curves[0].losses, expected, rtol=1e-12)
    assert found.over == "half time" and "best half time" in str(found)
    assert found.rows()[0]["half time"] == 0.5


def test_the_best_momentum_converges_on_a_linear_scale() -> None:
    found = landscape(
        problem(steps=10),
        values=[0.0, 0.2, 0.4, 0.6, 0.8, 0.95],
        depth=[4, 16, math.inf],
        over="momentum",
    )
    at = [curve.optimum for curve in found.curves]
    assert at[0] is not None and at[1] is not None and at[2] is not None
    assert abs(at[1] - at[2]) < abs(at[0] - at[2]) and 0.2 < at[2] < 0.9
    assert found.drift() == pytest.approx(at[2] - at[0]) and "2^" not in str(found)


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([0.125, 0.25, 0.5, 1.0], True),
        ([0.1, 0.3, 1.0, 3.0], True),
        ([0.1, 0.2, 0.3, 0.4], False),
        ([0.0, 0.5, 1.0], False),
        ([0.5, 0.8, 0.9, 0.95], False),
        ([0.1], True),
    ],
    ids=["octaves", "half decades", "even", "from zero", "towards one", "one"],
)
def test_the_scale_is_the_one_with_more_even_steps(values: list[float], logarithmic: bool) -> None:
    assert landscape(problem(steps=1), values=values, depth=[1]).logarithmic is logarithmic


# Progress and refusals


def test_progress_is_reported_to_the_end() -> None:
    reports: list[Progress] = []
    landscape(
        problem(steps=1),
        values=[0.1, 0.2],
        depth=[1, 2, math.inf],
        width=[4],
        progress=reports.append,
    )
    assert [(each.done, each.total) for each in reports] == [(done, 10) for done in range(1, 11)]
    names = [reports[i].what for i in (0, 5, -1)]
    assert names == ["width inf, depth 1", "width inf, depth inf", "width 4, depth 2"]


GOOD: dict[str, Any] = {"values": [0.1, 0.2], "depth": [1, 2]}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        pytest.param(
            {}, {"values": []}, r"values are \[\]: give at least one, ascending", id="no values"
        ),
        pytest.param({}, {"values": [0.2, 0.1]}, "values are .*ascending", id="values descend"),
        pytest.param({}, {"values": [0.1, 0.1]}, "values are .*ascending", id="a value twice"),
        pytest.param({}, {"values": [-0.1, 0.1]}, "lr is -0.1", id="negative rate"),
        pytest.param(
            {}, {"depth": []}, r"depth is \[\]: give at least one, ascending", id="no depths"
        ),
        pytest.param({}, {"depth": [2, 1]}, "depth is .*ascending", id="depths descend"),
        pytest.param(
            {}, {"depth": [math.inf, 1]}, "depth is .*ascending", id="infinite depth first"
        ),
        pytest.param({}, {"depth": [1.5]}, "depth is 1.5: give a whole number", id="half a depth"),
        pytest.param({}, {"depth": [-1]}, "depth is -1: give a whole number", id="negative depth"),
        pytest.param(
            {"alpha": 0.0},
            {"depth": [1, math.inf]},
            "there is no limit of infinite depth",
            id="infinite depth unscaled",
        ),
        pytest.param(
            {},
            {"over": "steps"},
            "unknown hyperparameter 'steps'; choose one of lr, momentum",
            id="hyperparameter",
        ),
        pytest.param(
            {}, {"metric": "best"}, "metric is 'best': give 'final' or 'mean'", id="metric"
        ),
        pytest.param({}, {"width": [0]}, "give a positive width", id="width of zero"),
        pytest.param({}, {"width": [10**6]}, "depth 1 takes .* GB, more than 8", id="memory"),
        pytest.param({}, {"width": [4], "seeds": 0}, "at least one seed", id="no seeds"),
    ],
)
def test_wrong_arguments_are_refused(
    changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        landscape(problem(**changes), **{**GOOD, **options})


def test_networks_too_large_are_refused_before_anything_is_solved() -> None:
    reports: list[Progress] = []
    with pytest.raises(MutransferError, match="width 1000000 and depth 1 takes"):
        landscape(problem(), values=[0.1], depth=[1], width=[10**6], progress=reports.append)
    assert reports == []


# Files


def test_a_landscape_is_strict_json(small: Landscape) -> None:
    plain = json.loads(json.dumps(small.to_json(), allow_nan=False))
    assert (plain["over"], plain["metric"], plain["values"]) == (
        "lr",
        "mean",
        [0.0625, 0.125, 0.25, 64],
    )
    assert plain["problem"]["targets"] == TARGETS.tolist() and "about" in plain
    assert [(curve["width"], curve["depth"]) for curve in plain["curves"][:4]] == [
        ("inf", 1),
        ("inf", 2),
        ("inf", "inf"),
        (16, 1),
    ]
    for curve, written in zip(small.curves, plain["curves"], strict=True):
        assert [float(loss) for loss in written["losses"]] == curve.losses.tolist()
        assert (
            written["standard_errors"] == curve.errors.tolist()
            and written["optimum"] == curve.optimum
        )


def test_there_is_a_row_for_every_size_and_value(small: Landscape) -> None:
    rows = small.rows()
    further = [len(curve.further.values) for curve in small.curves]
    assert len(rows) == 7 * 4 + sum(further) and all(further)
    assert [row["further"] for row in rows].count(True) == sum(further)
    given = [row for row in rows if not row["further"]]
    assert given[3] == {
        "width": "inf",
        "depth": 1,
        "lr": 64.0,
        "loss": "inf",
        "standard_error": 0.0,
        "optimum": small.curves[0].optimum,
        "settled": True,
        "further": False,
    }
    rates = [row["lr"] for row in rows[: 4 + further[0]]]
    assert rates == sorted({*small.values, *small.curves[0].further.values})
    assert [float(row["loss"]) for row in given] == [
        loss for curve in small.curves for loss in curve.losses
    ]


def test_a_row_of_the_table_is_the_optimum(small: Landscape) -> None:
    title, header, *rows = str(small).splitlines()
    assert title == "branches × 1/√depth: best lr by mean loss" and header.split() == [
        "width",
        "depth",
        "optimum",
        "lowest",
        "loss",
    ]
    assert [row.split()[:2] for row in rows[:3]] == [
        ["inf", "1"],
        ["inf", "2"],
        ["inf", "inf"],
    ] and len(rows) == 7
    assert rows[0].split()[2:] == [
        f"2^{octaves(small)[0]:.2f}",
        f"{small.points(small.curves[0]).losses.min():.4g}",
    ]


@pytest.mark.parametrize(
    ("alpha", "words"),
    [(0.75, "branches × depth^-0.75"), (1.0, "branches × 1/depth"), (0.0, "no depth scaling")],
)
def test_the_title_names_the_depth_scaling(alpha: float, words: str) -> None:
    assert str(landscape(problem(alpha=alpha, steps=1), values=[0.1], depth=[1])).startswith(
        f"{words}: best lr"
    )


def test_five_files_are_written(small: Landscape, tmp_path: Path) -> None:
    small.save(tmp_path / "one")
    Landscapes(landscapes=(small, small)).save(tmp_path / "new" / "two")
    for count, folder in ((1, tmp_path / "one"), (2, tmp_path / "new" / "two")):
        assert sorted(path.name for path in folder.iterdir()) == [
            f"limit.{kind}" for kind in ("csv", "json", "png", "svg", "txt")
        ]
        assert (folder / "limit.png").read_bytes().startswith(b"\x89PNG") and "<svg" in (
            folder / "limit.svg"
        ).read_text()
        written = json.loads((folder / "limit.json").read_text(), parse_constant=pytest.fail)
        (first, *_), panels = written["landscapes"], len(written["landscapes"])
        assert panels == count and first["curves"] == small.to_json()["curves"]
        with (folder / "limit.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count * len(small.rows())
        assert rows[0]["scaling"] == "branches × 1/√depth"
        given = [float(row["loss"]) for row in rows if row["further"] == "False"]
        assert given[:4] == small.curves[0].losses.tolist() and len(given) == count * 28


def test_a_folder_that_cannot_be_written_is_an_error(small: Landscape, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MutransferError, match="cannot write the limit to"):
        small.save(tmp_path / "file" / "folder")
