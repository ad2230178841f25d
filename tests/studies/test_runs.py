"""Runs are a result: a summary, JSON, a short repr, the best rate of each size."""

import json
from pathlib import Path
from typing import Any

import pytest

from mutransfer.core import MutransferError, Size
from mutransfer.studies import Runs, sweep
from tests.studies.small_study import short

SMALL, LARGE = Size(width=8, depth=2), Size(width=16, depth=2)


def row(size: Size, lr: float, seed: int, loss: float | None, rule: str = "sp") -> dict[str, Any]:
    return {"rule": rule, **size, "lr": lr, "seed": seed, "loss": loss}


RUNS = Runs(
    header={"identity": {"task": "digits"}, "about": {}},
    rows=[
        *(row(SMALL, lr, seed, 1 + abs(lr - 0.5)) for lr in (0.25, 0.5, 1.0) for seed in (0, 1)),
        *(row(LARGE, lr, 0, None) for lr in (0.25, 0.5)),
        row(SMALL, 0.25, 0, 2.0, rule="mup"),
    ],
)


def test_runs_print_a_summary() -> None:
    assert str(RUNS).splitlines() == [
        "9 runs: 2 rules, 2 sizes, 3 rates, 2 seeds; 2 diverged",
        "",
        "best rate          sp        mup",
        "width 8, depth 2   2^-1      2^-2",
        "width 16, depth 2  diverged",
    ]
    assert str(Runs(header={}, rows=[])) == "no runs yet"
    one = Runs(header={}, rows=RUNS.rows[:1])
    assert str(one).startswith("1 run: 1 rule, 1 size, 1 rate, 1 seed; 0 diverged")


def test_the_repr_is_short_and_the_notebook_has_the_summary() -> None:
    assert repr(RUNS) == "<Runs: 9 runs: 2 rules, 2 sizes, 3 rates, 2 seeds; 2 diverged ...>"
    assert str(RUNS) in RUNS._repr_html_()


def test_runs_survive_json(tmp_path: Path) -> None:
    for runs in (RUNS, sweep(short(), tmp_path)):
        data = runs.to_json()
        assert Runs.from_json(data) == Runs.from_json(json.dumps(data, allow_nan=False)) == runs


@pytest.mark.parametrize(
    "data", ["[]", "{", {}, {"header": {}, "rows": [{"rule": "sp"}]}, {"rows": []}]
)
def test_what_are_no_runs_is_refused(data: Any) -> None:
    with pytest.raises(MutransferError, match=r"this is not a record written by Runs\.to_json"):
        Runs.from_json(data)


def test_the_best_rate_is_that_of_the_lowest_mean_loss() -> None:
    assert RUNS.best_rate("sp", SMALL) == 0.5 and RUNS.best_rate("mup", SMALL) == 0.25
    assert RUNS.best_rate("sp", LARGE) is None, "all diverged"
    assert RUNS.best_rate("mup", LARGE) is None, "not run"
    half = Runs(header={}, rows=[row(SMALL, 1.0, 0, 0.1), row(SMALL, 1.0, 1, None), RUNS.rows[0]])
    assert half.best_rate("sp", SMALL) == 0.25, "a rate with a diverged seed has an infinite mean"
