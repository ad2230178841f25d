"""Rules side by side: the paired test, and records joined to one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.core import Size
from mutransfer.report import joined, names_of, versus
from mutransfer.report._certificate import comparisons
from mutransfer.report._joined import pairs
from mutransfer.report._versus import difference
from mutransfer.studies import Runs


def grid(effect: float, seeds: int = 6, noise: float = 0.01, **header: Any) -> Runs:
    """Two rules of which "b" is better by `effect`; seeds have offsets of their own."""
    random = np.random.default_rng(3)
    offsets = random.standard_normal(seeds)
    rows = [
        {
            "rule": rule,
            "width": width,
            "lr": 2.0**power,
            "seed": seed,
            "loss": 2
            + 0.05 * (power + 6) ** 2
            + offsets[seed]
            - (effect if rule == "b" else 0.0)
            + noise * random.standard_normal(),
        }
        for rule in "ab"
        for width in (32, 64)
        for power in range(-9, -3)
        for seed in range(seeds)
    ]
    return Runs(header={"axes": ["width"], **header}, rows=rows)


def test_pairing_sees_what_seeds_hide() -> None:
    """Seeds differ by 1, the rules by 0.03: only pairs show it."""
    found = versus(grid(0.03), "a", "b")
    assert found is not None and found.tuned.mean is not None and found.equal.mean is not None
    assert found.equal.pairs == 12 and found.equal.chance == pytest.approx(2.0**-11)
    assert found.equal.mean.low < -0.03 < found.equal.mean.high < 0
    assert found.tuned.is_shown and found.tuned.mean.value == pytest.approx(-0.03, abs=0.01)
    assert [size for size, *_ in found.sizes] == ["width 32", "width 64"]


def test_no_difference_is_rarely_shown() -> None:
    """Control: where neither is better, one test in twenty says otherwise."""
    random = np.random.default_rng(0)
    chances = [difference(random.standard_normal(8)).chance for _ in range(400)]
    assert 0.02 < np.mean(np.array(chances) < 0.05) < 0.08
    intervals = [difference(random.standard_normal(5)).mean for _ in range(400)]
    missed = [not each.low <= 0 <= each.high for each in intervals if each]
    assert 0.02 < np.mean(missed) < 0.08


def test_rules_that_are_the_same_are_seldom_told_apart() -> None:
    """Control: tuned by each other, the seeds of a size err together."""
    random = np.random.default_rng(0)
    curve = 0.05 * np.arange(-3, 3) ** 2
    shown, missed = 0, 0
    for _ in range(200):
        losses = curve[:, None] + 0.1 * random.standard_normal((2, 6, 8))
        rows = [
            {"rule": "ab"[rule], "width": 32, "lr": 2.0**point, "seed": seed, "loss": loss}
            for (rule, point, seed), loss in np.ndenumerate(losses)
        ]
        found = versus(Runs(header={"axes": ["width"]}, rows=rows), "a", "b")
        assert found is not None and found.tuned.mean is not None
        shown += found.tuned.is_shown
        missed += not found.tuned.mean.low <= 0 <= found.tuned.mean.high
    assert shown <= 18 and missed <= 18


def test_a_finer_grid_is_no_advantage() -> None:
    """Chosen by its own noise, the rule of many values would seem better."""
    random = np.random.default_rng(1)
    rows = [
        {"rule": rule, "width": 32, "lr": 2.0**-power, "seed": seed, "loss": random.normal(1, 0.1)}
        for rule, count in (("coarse", 2), ("fine", 60))
        for power in range(count)
        for seed in range(30)
    ]
    found = versus(Runs(header={"axes": ["width"]}, rows=rows), "coarse", "fine")
    assert found is not None and found.tuned.mean is not None
    assert abs(found.tuned.mean.value) < 0.06 and not found.tuned.is_shown
    naive = [
        min(r["loss"] for r in rows if (r["rule"], r["seed"]) == (rule, seed))
        for rule in ("coarse", "fine")
        for seed in range(30)
    ]
    assert np.mean(naive[30:]) < np.mean(naive[:30]) - 0.1


def test_diverged_and_failed_runs_are_counted_or_left_out() -> None:
    runs = grid(0.03)
    for row in runs.rows:
        if row["rule"] == "a" and row["lr"] == 2.0**-4:
            row["loss"] = None
        if row["rule"] == "b" and row["seed"] == 0:
            row["status"] = "failed"
    found = versus(runs, "a", "b")
    assert found is not None and found.diverged == (10, 0) and found.equal.pairs == 10


def test_few_pairs_say_what_they_cannot_show() -> None:
    found = comparisons(Runs(header={"axes": ["width"]}, rows=grid(0.5, seeds=2).rows[:24]))
    assert found is None, "one rule alone has nothing to stand beside"
    runs = grid(0.5, seeds=1)
    (pair,) = (comparisons(runs) or {"pairs": []})["pairs"]
    assert "2 pairs cannot show less than 0.5" in pair["sentence"]
    assert versus(runs, "a", "c") is None


def test_more_pairs_than_can_be_gone_through_are_drawn() -> None:
    assert difference([0.1 + 0.01 * number for number in range(40)]).chance < 1e-4
    assert difference([]).mean is None and difference([1.0]).mean is not None
    assert math.isinf(difference([1.0]).mean.high)  # type: ignore[union-attr]


def test_joined_records_keep_their_runs_and_name_their_rules() -> None:
    one, other = grid(0.0), grid(0.1)
    both = joined({"old": one, "new": other})
    assert both.rules == ["a, old", "b, old", "a, new", "b, new"]
    assert pairs(both) == [("a, old", "a, new"), ("b, old", "b, new")]
    assert both.losses("b, new", Size(width=32))[1].tolist() == (
        other.losses("b", Size(width=32))[1].tolist()
    )
    alone = joined({"old": one.only("a"), "new": other.only("a")})
    assert alone.rules == ["old", "new"] and pairs(alone) == [("old", "new")]
    different = joined({"old": one.only("a"), "new": other.only("b")})
    assert different.rules == ["a", "b"]


def test_records_that_cannot_stand_side_by_side_say_why() -> None:
    one = grid(0.0)
    wider = Runs(header={"axes": ["width", "depth"]}, rows=[r | {"depth": 2} for r in one.rows])
    with pytest.raises(MutransferError, match="their axes are width and width, depth"):
        joined({"x": one, "y": wider})
    with pytest.raises(MutransferError, match="a centre of its own"):
        joined({"x": one, "y": grid(0.0, centre={"lr": 0.5})})
    with pytest.raises(MutransferError, match="named twice"):
        names_of([Path("runs/a"), Path("runs/a")])
