"""Runs are a result: a summary, JSON, a short repr, the best rate of each size."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mutransfer.certificates import transfer
from mutransfer.core import MutransferError, Size
from mutransfer.figures import Section, panels
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
    head, _, table = str(RUNS).partition("\n\n")
    assert head in RUNS._repr_html_() and table in RUNS._repr_html_()


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


DIVERGED = [None, math.nan, math.inf, -math.inf, "nan", "inf", "-inf"]


@pytest.mark.parametrize("loss", DIVERGED, ids=repr)
def test_every_loss_that_is_no_number_has_diverged(loss: Any, tmp_path: Path) -> None:
    """Also in a table from elsewhere: as data, as JSON, and as lines in a folder."""
    finite = {0.25: 3.0, 0.5: 2.0, 1.0: 2.5}
    rows = [
        *(row(size, lr, 0, value) for size in (SMALL, LARGE) for lr, value in finite.items()),
        *(row(size, 2.0, 0, loss) for size in (SMALL, LARGE)),
    ]
    for number, each in enumerate(rows):
        each["id"] = str(number)
    made = Runs(header=RUNS.header, rows=rows)
    (tmp_path / "study.json").write_text(json.dumps(made.header))
    (tmp_path / "rows-0.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    lines = Runs.from_json(json.dumps({"header": made.header, "rows": rows}))
    for runs in (made, lines, Runs.from_json(made.to_json()), Runs.read(tmp_path)):
        assert str(runs).startswith("8 runs: 1 rule, 2 sizes, 4 rates, 1 seed; 2 diverged")
        assert runs.losses("sp", SMALL)[1].tolist() == [[3.0, 2.0, 2.5, math.inf]]
        assert runs.best_rate("sp", SMALL) == 0.5 and "2^-1" in str(runs)
        found = transfer(runs)
        assert found["sp"].hyperparameters == {"lr": pytest.approx(2**-0.833, rel=0.3)}
        assert found.granted[0].diverged == 0.25
        (panel,) = panels([Section.of(found)])
        assert all(line.diverged.tolist() == [0, 0, 0, 1] for line in panel.lines)


def test_a_rate_with_one_lost_seed_is_never_the_best() -> None:
    rows = [row(SMALL, lr, seed, 3 - lr) for lr in (0.25, 0.5, 1.0) for seed in (0, 1)]
    rows[-1]["loss"] = math.nan
    assert Runs(header={}, rows=rows).best_rate("sp", SMALL) == 0.5
