"""Collapse of loss curves: the outcome of simulated records, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Runs
from mutransfer.certificates import Collapses, collapse

WIDTHS = (32, 64, 128, 256)
POINTS = 50


def row(width: int, ahead: float, seed: int, random: np.random.Generator, **more: Any) -> Any:
    """Return a run that is ahead in training by so many octaves; seeds share their batches."""
    batches = np.random.default_rng(seed).standard_normal(POINTS)
    steps = 2.0**ahead * np.arange(1, POINTS + 1)
    fluctuation = 0.1 * batches + 0.02 * random.standard_normal(POINTS)
    curve = 2.3 / (1 + 0.3 * steps) ** 1.2 * np.exp(fluctuation)
    return {
        "rule": "default",
        "width": width,
        "depth": 3,
        "lr": 2.0**-6,
        "seed": seed,
        "steps": 200,
        "status": "finished",
        "loss": float(curve.mean()),
        "curve": list(map(float, curve)),
        **more,
    }


def record(
    drift: float = 0.0,
    seeds: int = 1,
    pace: float = 0.1,
    widths: tuple[int, ...] = WIDTHS,
    draw: int = 0,
    **more: Any,
) -> Runs:
    """Return runs with finite-size effects, and a drift in octaves per doubling of width."""
    random = np.random.default_rng(draw)
    rows = []
    for seed in range(seeds):
        for width in widths:
            ahead = drift * np.log2(width / 32) - 16 / width + pace * random.standard_normal()
            rows.append(row(width, float(ahead), seed, random, **more))
    return Runs(header={}, rows=rows)


def changed(runs: Runs, width: int, **more: Any) -> Runs:
    """Return the runs with other columns at one width."""
    return replace(runs, rows=[r | more if r["width"] == width else r for r in runs.rows])


def test_right_scaling_is_hardly_ever_called_wrong() -> None:
    outcomes = [collapse(record(draw=draw))[0].outcome for draw in range(40)]
    assert outcomes.count("does not scale alike") <= 1
    quiet = [collapse(record(draw=draw, pace=0.05))[0].outcome for draw in range(20)]
    assert quiet.count("scales alike") > 10


def test_wrong_scaling_is_seen_with_one_run_a_size() -> None:
    outcomes = [collapse(record(drift=1.2, draw=draw))[0].outcome for draw in range(30)]
    assert outcomes.count("does not scale alike") > 20
    assert "scales alike" not in outcomes


def test_several_seeds_see_more() -> None:
    one, four = (
        [collapse(record(drift=0.8, seeds=n, draw=draw))[0] for draw in range(20)] for n in (1, 4)
    )
    seen = [sum(each.outcome == "does not scale alike" for each in found) for found in (one, four)]
    assert seen[0] < seen[1] and seen[1] > 15
    assert np.mean([c.noise for c in four]) < np.mean([c.noise for c in one])


@pytest.mark.parametrize(("width", "ahead"), [(256, 2.0), (128, -2.0)])
def test_a_size_at_another_rate_is_found_and_named(width: int, ahead: float) -> None:
    runs = record(pace=0.0)
    random = np.random.default_rng(9)
    wrong = row(width, ahead - 16 / width, 0, random)
    found = collapse(changed(runs, width, curve=wrong["curve"]))[0]
    assert found.outcome == "does not scale alike"
    assert found.largest is not None and found.largest.size == width
    assert np.sign(found.largest.octaves.value) == np.sign(ahead)
    word = "ahead of" if ahead > 0 else "behind"
    assert f"width {width}" in found.reason and word in found.reason


@pytest.mark.parametrize("drift", [0.0, 1.5])
def test_the_reason_names_the_gap_that_the_table_shows(drift: float) -> None:
    """Of three sizes all gaps are one difference, each as many errors from nothing."""
    for draw in range(10):
        found = collapse(record(drift=drift, widths=WIDTHS[:3], seeds=2, draw=draw))[0]
        assert found.largest is not None
        value = abs(found.largest.octaves.value)
        if found.outcome != "scales alike":
            assert f"width {found.largest.size} is {value:.2f} octaves of training" in found.reason


def test_the_evidence_is_printed_and_travels(tmp_path: Path) -> None:
    both = record(drift=1.5), record(rule="mup")
    found = collapse(Runs(header={}, rows=[r for runs in both for r in runs.rows]))
    assert not found.ok and found["mup"].outcome != "does not scale alike"
    for piece in ("octaves", "default in width", "2^-6", "does not scale alike", "width 256"):
        assert piece in str(found)
    data = json.dumps(found.to_json(), allow_nan=False)
    assert Collapses.from_json(data).to_json() == found.to_json()
    folder = found.save(tmp_path / "out")
    assert {"collapse.csv", "collapse.json", "collapse.png", "collapse.svg", "collapse.txt"} == {
        path.name for path in folder.iterdir()
    }
    assert len((folder / "collapse.csv").read_text().splitlines()) == 1 + 2 * 3
    with pytest.raises(MutransferError, match="there is no rule 'sp'"):
        found["sp"]


def test_each_line_of_a_grid_has_an_outcome() -> None:
    deeper = [r | {"depth": 6} for r in record().rows]
    found = collapse(Runs(header={}, rows=[*record().rows, *deeper]))
    assert [each.name for each in found] == [
        "default in width at depth 3",
        "default in width at depth 6",
    ]


def test_the_rate_is_the_smallest_size_s_best_at_which_all_finished() -> None:
    low, high = record(lr=2.0**-7), record(lr=2.0**-5)
    worse = [r | {"loss": r["loss"] + 1} for r in low.rows]
    found = collapse(Runs(header={}, rows=[*worse, *high.rows]))[0]
    assert found.lr == 2.0**-5
    ended = changed(high, 256, status="diverged", curve=high.rows[0]["curve"][:20])
    found = collapse(Runs(header={}, rows=[*worse, *ended.rows]))[0]
    assert found.lr == 2.0**-7
    both = Runs(header={}, rows=[*worse, *ended.rows])
    found = collapse(both, lr=2.0**-5)[0]
    assert found.outcome == "cannot tell"
    assert "diverged at width 256" in found.reason and "0.03125" in found.reason
    with pytest.raises(MutransferError, match=r"not run at rate 1: it has 0.0078125, 0.03125"):
        collapse(both, lr=1.0)


def test_seeds_count_where_all_sizes_finished() -> None:
    runs = record(seeds=3)
    rows = [
        r | {"status": "diverged", "loss": None} if (r["width"], r["seed"]) == (64, 1) else r
        for r in runs.rows
    ]
    assert collapse(replace(runs, rows=rows))[0].seeds == 2


def test_sizes_without_a_common_seed_are_compared() -> None:
    runs = record(pace=0.0)
    apart = replace(runs, rows=[r | {"seed": number} for number, r in enumerate(runs.rows)])
    assert collapse(apart)[0].seeds == 1


FLAT = [2.3 - 0.001 * n for n in range(POINTS)]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (record(widths=(32, 64)), "a third shows whether the gap closes"),
        (changed(record(), 64, status="diverged"), "diverged at width 64"),
        (changed(record(), 64, status="stopped"), "was stopped at width 64"),
        (changed(record(), 64, steps=400), r"unequal lengths along width \(200, 400 steps\)"),
        (changed(record(), 64, curve=[1.0] * 40), r"unequal lengths along width \(40, 50 points\)"),
        (changed(record(), 64, reported_at=[2, 400]), "reported at other steps"),
        (changed(record(), 64, curve=[0.0] * POINTS), "a loss is not positive"),
        (record(reported_at=[1, 9], curve=[1.0] * 9), "9 points: at least 16 are needed"),
        (record(curve=FLAT), "the loss falls by 2% only: train longer"),
    ],
)
def test_curves_that_tell_nothing_say_why(runs: Runs, reason: str) -> None:
    found = collapse(runs)
    assert found[0].outcome == "cannot tell" and found.ok
    with pytest.raises(MutransferError, match=reason):
        raise MutransferError(found[0].reason)
    assert Collapses.from_json(found.to_json()).to_json() == found.to_json()
    assert "cannot tell" in str(found)


def test_nothing_is_drawn_without_curves() -> None:
    with pytest.raises(MutransferError, match="no curves were compared: default in width"):
        collapse(record(widths=(32, 64))).figure()


@pytest.mark.parametrize(
    ("runs", "options", "reason"),
    [
        (Runs(header={}, rows=[]), {}, "the record is empty"),
        (record(widths=(32,)), {}, "was run at width 32, depth 3 alone"),
        (record(curve=[]), {}, "the runs have no loss curves"),
        (replace(record(), header={"table": {"loss": "x"}}), {}, "a table of runs holds one loss"),
        (record(), {"rule": "sp"}, "no rule 'sp'; it has default"),
        (
            replace(
                changed(record(clip=1.0), 64, clip=2.0), header={"hyperparameters": ["lr", "clip"]}
            ),
            {},
            "swept clip, too",
        ),
        (
            Runs(
                header={},
                rows=[r | {"depth": r["width"] // 16} for r in record().rows],
            ),
            {},
            "width and depth only vary together",
        ),
        (
            Runs(
                header={"axes": ["width", "steps"]},
                rows=[*record().rows, *record(steps=400).rows],
            ),
            {},
            "differ in steps: curves are compared at equal steps",
        ),
    ],
)
def test_records_that_cannot_be_compared_are_refused(
    runs: Runs, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MutransferError, match=reason):
        collapse(runs, **options)
