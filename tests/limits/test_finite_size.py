"""Errors of finite networks against their limit."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError, Progress, Task
from mutransfer.limits import FiniteSize, finite_size, lazy, simulate, solve
from mutransfer.tasks import mlp, resmlp
from tests.limits.finite_problems import WIDTHS, problem


def slope(found: FiniteSize, law: str) -> float:
    """The fitted exponent of a law, which must be above noise."""
    exponent = found.laws[law].slope
    assert exponent is not None
    return exponent.value


# Problems


@pytest.fixture(scope="module")
def one_depth() -> FiniteSize:
    return finite_size(problem(steps=20), width=WIDTHS, depth=[4], seeds=48)


@pytest.fixture(scope="module")
def three_depths() -> FiniteSize:
    return finite_size(problem(), width=[16, 32, 64], depth=[2, 4, 8], seeds=24)


def test_networks_approach_their_limit_by_the_powers_of_theory(one_depth: FiniteSize) -> None:
    """N MSE is 1.1 and N times the bias 1.3 to 1.5, for other draws of such data."""
    one, mean = one_depth.laws["one network"], one_depth.laws["mean over networks"]
    assert one.slope is not None and one.slope.low < -0.4 and one.slope.high > -0.6
    assert one.slope.value == pytest.approx(-0.5, abs=0.1)
    low, value, high = one.constant.low, one.constant.value, one.constant.high
    assert 0.8 < value < 1.3 and low < value < high < 1.1 * low + 0.1
    low, value, high = mean.constant.low, mean.constant.value, mean.constant.high
    assert 0.5 < value < 2 and 0 <= low < value < high
    assert one_depth.limit == "theory" and one_depth.of == "outputs" and one_depth.seeds == 48
    outputs = solve(problem(steps=20), 4).outputs
    assert one_depth.scale == pytest.approx(float(np.sqrt(np.mean(outputs**2))))


def test_the_bias_of_the_mean_falls_as_one_over_width() -> None:
    p = problem(lr=0.1, steps=6)
    found = finite_size(p, width=[4, 8, 16], depth=[1], seeds=1500)
    mean = found.laws["mean over networks"]
    assert slope(found, "mean over networks") == pytest.approx(-1, abs=0.25)
    assert slope(found, "one network") == pytest.approx(-0.5, abs=0.15)
    limit, means = solve(p, 1).outputs, [simulate(p, n, 1, 1500).mean(0) for n in (4, 8, 16)]
    direct = [np.sqrt(np.mean((outputs - limit) ** 2)) for outputs in means]
    np.testing.assert_allclose(mean.errors, direct, rtol=0.2)


def test_finite_depth_falls_as_one_over_depth() -> None:
    """L times the error is 0.29 at gamma0 = 1/2 and 0.41 at 2, for other data."""
    found = finite_size(problem(steps=20), width=[16, 32], depth=[8, 16, 32], seeds=2)
    depth = found.laws["depth"]
    assert slope(found, "depth") == pytest.approx(-1, abs=0.1)
    assert depth.sizes == (8, 16, 32) and (depth.power, depth.axis) == (1.0, "depth")
    assert 0.2 < depth.constant.value < 0.5
    assert depth.constant.low <= depth.constant.value <= depth.constant.high
    *limits, infinite = (solve(problem(steps=20), size).outputs for size in (8, 16, 32, math.inf))
    direct = [np.sqrt(np.mean((outputs - infinite) ** 2)) for outputs in limits]
    np.testing.assert_allclose(depth.errors, direct, rtol=5e-3)


@pytest.mark.parametrize("of", ["features", "kernel"])
def test_kernels_approach_theirs_by_the_same_powers(of: Any) -> None:
    p = problem(steps=4)
    found = finite_size(p, width=[16, 64], depth=[4, 8, 16], seeds=16, of=of)
    assert slope(found, "one network") == pytest.approx(-0.5, abs=0.2)
    assert slope(found, "depth") == pytest.approx(-0.9, abs=0.15)
    name = "covariance" if of == "features" else "tangent"
    curves = [getattr(solve(p, depth), name) for depth in (4, 8, 16, math.inf)]
    direct = [np.sqrt(np.mean((curve - curves[-1]) ** 2)) for curve in curves[:-1]]
    np.testing.assert_allclose(found.laws["depth"].errors, direct, rtol=0.02)
    assert found.of == of and f"error of {of}" in str(found)
    assert found.scale == pytest.approx(float(np.sqrt(np.mean(curves[2] ** 2))))


def test_a_depth_without_scaling_has_no_law() -> None:
    found = finite_size(problem(alpha=0.0, lr=0.01, steps=4), width=[16, 32], depth=[1, 2], seeds=2)
    assert list(found.laws) == ["one network", "mean over networks"]


WRONG = [
    pytest.param(lambda p: solve(replace(p, lr=2 * p.lr), 4).outputs, id="another rate"),
    pytest.param(lambda p: lazy(p, 4).outputs, id="nothing is learned"),
]


MANY: dict[str, Any] = {"width": [64, 128, 256], "depth": [4], "seeds": 16}


@pytest.fixture(scope="module")
def right() -> FiniteSize:
    p = problem(steps=20)
    return finite_size(p, **MANY, limit={4: solve(p, 4).outputs})


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_against_a_wrong_limit_do_not_fall(wrong: Any, right: FiniteSize) -> None:
    p = problem(steps=20)
    given = finite_size(p, **MANY, limit={4: wrong(p)})
    one, other = slope(given, "one network"), slope(right, "one network")
    assert given.limit == right.limit == "given" and "depth" not in given.laws
    assert one > -0.38 and one - other > 0.1
    mean = given.laws["mean over networks"]
    assert mean.slope is not None and mean.slope.low > -0.75


def test_a_given_limit_is_as_good_as_the_solved_one() -> None:
    p, options = problem(), {"width": [16, 32], "depth": [2, 4], "seeds": 8}
    solved = finite_size(p, **options)
    given = finite_size(p, **options, limit={depth: solve(p, depth).outputs for depth in (2, 4)})
    for name in ("one network", "mean over networks"):
        np.testing.assert_allclose(given.laws[name].errors, solved.laws[name].errors, rtol=1e-6)
        constant = solved.laws[name].constant.value
        assert given.laws[name].constant.value == pytest.approx(constant, rel=1e-6)


def test_losses_can_be_compared() -> None:
    p = problem()
    found = finite_size(p, width=[32, 128], depth=[2], seeds=16, of="losses")
    limit = solve(p, 2).losses
    direct = [np.sqrt(np.mean((p.losses(simulate(p, n, 2, 16)) - limit) ** 2)) for n in (32, 128)]
    np.testing.assert_allclose(found.laws["one network"].errors, direct, rtol=1e-6)
    assert found.of == "losses" and found.scale == pytest.approx(float(np.sqrt(np.mean(limit**2))))


def test_the_error_of_a_sampled_limit_is_subtracted() -> None:
    p = problem(activation="tanh", steps=4)
    found = finite_size(p, width=[16, 64], depth=[1], seeds=24, accuracy=0.05, limit=None)
    assert slope(found, "one network") == pytest.approx(-0.5, abs=0.15)
    assert found.limit == "theory"


# Networks of one's own


SGD: dict[str, Any] = {"steps": 6, "batch": 16, "optimizer": "sgd", "lr": [2**-4]}
SIZES: dict[str, Any] = {"width": [32, 64, 128, 256], "depth": [2], "seeds": 12}


def test_muP_networks_approach_a_limit_and_standard_ones_do_not() -> None:
    default, standard = (
        finite_size(mlp, **SIZES, **SGD, rules=[rule]) for rule in ("default", "sp")
    )
    assert default.limit == "extrapolated" and default.of == "losses"
    assert slope(default, "one network") < -0.4 < -0.3 < slope(standard, "one network")
    assert standard.laws["one network"].errors[-1] > 3 * default.laws["one network"].errors[-1]


def test_a_builders_depths_get_a_law() -> None:
    training = {"lr": [2**-5], "steps": 4, "batch": 16, "optimizer": "sgd"}
    found = finite_size(resmlp, width=[16, 32], depth=[2, 4], seeds=4, **training)
    assert list(found.laws) == ["one network", "mean over networks", "depth"]
    assert found.laws["depth"].sizes == (2, 4) and found.laws["depth"].slope is None


def test_all_networks_see_the_same_batches_from_different_draws() -> None:
    """A loss of the batch alone is the same for all networks, a loss of the outputs is not."""
    inputs, targets = torch.randn(64, 64), torch.arange(64)
    options = {"width": [8, 16], "depth": [2], "seeds": 3, "lr": [0.1], "steps": 3, "batch": 8}

    def errors(loss: Any) -> tuple[float, ...]:
        task = Task(name="numbered", inputs=inputs, targets=targets, loss=loss)
        return finite_size(mlp, **options, task=task).laws["one network"].errors

    batch = errors(lambda outputs, targets: 0 * outputs.sum() + targets.double().mean())
    outputs = errors(lambda outputs, targets: outputs.square().mean())
    assert max(batch) < 1e-12 < 1e-3 < min(outputs)


def test_progress_is_reported_to_the_end() -> None:
    reports: list[Progress] = []
    finite_size(problem(steps=2), width=[8, 16], depth=[1, 2], seeds=2, progress=reports.append)
    assert [(each.done, each.total) for each in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert reports[0].what == "width 8, depth 1" and reports[-1].what == "width 16, depth 2"


# Refusals


GOOD: dict[str, Any] = {"width": [8, 16], "depth": [1], "seeds": 2}
TRAINED: dict[str, Any] = {**GOOD, "lr": [0.1], "steps": 2, "batch": 8}


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        pytest.param(
            problem(),
            {**GOOD, "width": [8]},
            "at least two widths and one depth, positive, ascending",
            id="one width",
        ),
        pytest.param(problem(), {**GOOD, "width": [16, 8]}, "ascending", id="widths descend"),
        pytest.param(
            problem(), {**GOOD, "depth": []}, "at least two widths and one depth", id="no depths"
        ),
        pytest.param(problem(), {**GOOD, "depth": [2, 2]}, "ascending", id="a depth twice"),
        pytest.param(
            problem(), {**GOOD, "seeds": 1}, "seeds is 1: errors need at least 2", id="one seed"
        ),
        pytest.param(
            problem(),
            TRAINED,
            "lr, steps, batch: a problem knows its own training",
            id="study options of a problem",
        ),
        pytest.param(
            problem(lr=1000.0, steps=40),
            GOOD,
            "networks of width 8 and depth 1 diverged; give a smaller lr",
            id="diverges",
        ),
        pytest.param(
            mlp,
            {**TRAINED, "lr": [1e9], "optimizer": "sgd"},
            "of width 8 and depth 1 diverged",
            id="a builder diverges",
        ),
        pytest.param(
            mlp, {**TRAINED, "lr": [0.1, 0.2]}, "at one rate under one rule", id="two rates"
        ),
        pytest.param(
            mlp, {**TRAINED, "rules": ["sp", "mup"]}, "at one rate under one rule", id="two rules"
        ),
        pytest.param(
            problem(),
            {**GOOD, "limit": {1: np.zeros(4)}},
            "a curve of 44 points for every depth",
            id="limit too short",
        ),
        pytest.param(
            problem(),
            {**GOOD, "limit": {2: np.zeros(44)}},
            "a curve of 44 points for every depth",
            id="limit of another depth",
        ),
        pytest.param(
            problem(),
            {**GOOD, "of": "losses", "limit": {1: np.zeros(44)}},
            "a curve of 11 points for every depth",
            id="outputs for losses",
        ),
        pytest.param(
            mlp,
            {**TRAINED, "limit": {1: np.zeros(3)}},
            "a curve of 2 points for every depth",
            id="a builder's limit too long",
        ),
    ],
)
def test_wrong_sizes_options_and_limits_are_refused(
    build: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        finite_size(build, **options)


# Files


def test_rows_text_and_files_have_the_laws(three_depths: FiniteSize, tmp_path: Path) -> None:
    rows = three_depths.rows()
    assert {(row["law"], row["axis"]) for row in rows} == {
        ("one network", "width"),
        ("mean over networks", "width"),
        ("depth", "depth"),
    }
    errors = [row["error"] for row in rows if row["law"] == "one network"]
    assert errors == list(three_depths.laws["one network"].errors)
    text = str(three_depths).splitlines()
    assert "24 networks of each size" in text[0] and "(theory)" in text[0]
    assert [line.split("  ")[1] for line in text[1:]] == list(three_depths.laws)
    assert "N^-1/2" in text[1] and "1/N" in text[2] and "1/L" in text[3]
    folder = tmp_path / "new" / "folder"
    three_depths.save(folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"finite-size.{kind}" for kind in ("csv", "json", "png", "svg", "txt")]
    plain = json.loads((folder / "finite-size.json").read_text(), parse_constant=pytest.fail)
    assert plain["laws"]["depth"]["errors"] == list(three_depths.laws["depth"].errors)
    assert "about" in plain and json.dumps(three_depths.to_json(), allow_nan=False)
    lines = (folder / "finite-size.csv").read_text().splitlines()
    assert lines[0] == "law,axis,size,error" and len(lines) == 1 + len(rows)


def test_a_folder_that_cannot_be_written_is_an_error(
    three_depths: FiniteSize, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MutransferError, match="cannot write the finite-size to"):
        three_depths.save(tmp_path / "file" / "folder")
