"""A sweep asks a search for batches of runs, and goes on where a killed one stood."""

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError, Runs, Study, Trial, log2, sweep
from mutransfer.studies import (
    Budget,
    FailedRunsWarning,
    GridSearch,
    OptunaSearch,
    Refine,
    Run,
    SearchWarning,
    Store,
    SurfaceSearch,
    batches,
)
from tests.studies.landscapes import landscape, valley
from tests.studies.small_study import on_disk, planted, untimed


def still(**changes: Any) -> Study:
    return landscape(lambda rule, width, point: valley(0, point["lr"]), **changes)


@dataclass(frozen=True)
class Halving:
    """A search of one's own: half of the rates of each batch go on, with one seed more."""

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        first, *_ = study.seeds
        if not runs.rows:
            return [run for run in study.runs() if run.seed == first]
        latest = max(row["seed"] for row in runs.rows)
        if latest == max(study.seeds):
            return []
        last = sorted((row for row in runs.rows if row["seed"] == latest), key=runs.loss_of)
        return [
            Run(
                rule=row["rule"],
                size=runs.size_of(row),
                point={"lr": row["lr"]},
                seed=latest + 1,
            )
            for row in last[: len(last) // 2]
        ]


def test_a_search_of_ones_own_is_asked_batch_after_batch(tmp_path: Path) -> None:
    wanted = still(width=[8], rules=["mup"])
    runs = sweep(wanted, tmp_path, search=Halving())
    assert [len([row for row in runs.rows if row["seed"] == seed]) for seed in range(3)] == [
        *(7, 3, 1)
    ]
    assert runs.header["search"] == "Halving"
    assert sweep(wanted, tmp_path, search=Halving()).rows == runs.rows
    assert len(on_disk(tmp_path)) == 11


@pytest.mark.parametrize("kept", range(11))
def test_a_killed_search_goes_on_as_an_undisturbed_one(tmp_path: Path, kept: int) -> None:
    wanted = still(width=[8], rules=["mup"])
    whole = sweep(wanted, tmp_path, search=Halving())
    (shard,) = tmp_path.glob("rows-*.jsonl")
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join(lines[:kept]) + lines[kept][:30])
    # The record's list of runs has the last batch, or lacks it.
    header = json.loads((tmp_path / "study.json").read_text())
    header["runs"] = header["runs"][: 7 if kept < 7 else 10]
    (tmp_path / "study.json").write_text(json.dumps(header))
    assert untimed(sweep(wanted, tmp_path, search=Halving())) == untimed(whole)


def test_the_grid_is_a_search(tmp_path: Path) -> None:
    wanted = planted(lambda _: -7, width=[8])
    by_name = sweep(wanted, tmp_path / "a", extend=2)
    assert untimed(sweep(wanted, tmp_path / "b", search=GridSearch(2))) == untimed(by_name)
    assert "search" not in by_name.header


@pytest.mark.filterwarnings("ignore:intervals are wider")
def test_failed_runs_are_tried_once_and_again_where_asked(tmp_path: Path) -> None:
    tried: list[int] = []

    def train(trial: Trial) -> None:
        tried.append(trial.seed)
        if trial.lr > 2.0**-4:
            raise RuntimeError("no memory")
        trial.report(1, (trial.lr - 0.01) ** 2)

    wanted = Study(None, train=train, width=[8], lr=[2.0**-6, 2.0**-5, 2.0**-3], steps=1, seeds=1)
    for search in ("grid", "refine"):
        runs = sweep(wanted, tmp_path / search, search=search)
        count = len(tried)
        assert count == len(runs.rows)
        failed = [row for row in runs.rows if row["status"] == "failed"]
        sweep(wanted, tmp_path / search, search=search)
        assert len(tried) == count
        sweep(wanted, tmp_path / search, search=search, retry="failed")
        assert len(tried) == count + len(failed) and failed
        tried.clear()


def test_failed_runs_that_are_no_longer_asked_for_are_tried_again(tmp_path: Path) -> None:
    """Without the fault the search takes another way than it took around it."""
    is_faulty = [True]

    def train(trial: Trial) -> None:
        place = math.log2(trial.lr)
        if is_faulty[0] and place > -5.2:
            raise RuntimeError("the node is gone")
        trial.report(1, 3 + 0.02 * (place + 5.6) ** 2)

    wanted = Study(None, train=train, width=[16], lr=log2(-9, -3), steps=1, seeds=1)
    with pytest.warns(FailedRunsWarning), pytest.warns(SearchWarning, match="runs that failed"):
        sweep(wanted, tmp_path, search=Refine(within=0.6))
    is_faulty[0] = False
    runs = sweep(wanted, tmp_path, search=Refine(within=0.6), retry="failed")
    assert {row["status"] for row in runs.rows} == {"finished"}


def test_a_budget_cuts_the_last_batch(tmp_path: Path) -> None:
    wanted = still(width=[8], rules=["mup"])
    runs = sweep(wanted, tmp_path, search=Halving(), budget=9)
    assert len(runs.rows) == 9
    assert sweep(wanted, tmp_path, search=Halving(), budget=9).rows == runs.rows
    assert len(sweep(wanted, tmp_path, search=Halving(), budget=100).rows) == 11
    assert len(sweep(wanted, tmp_path / "grid", budget=Budget(10, "steps")).rows) == 5
    dear = Budget(100.0, lambda study, run: 40.0 if run.seed else 1.0)
    assert len(sweep(wanted, tmp_path / "own", budget=dear).rows) == 4


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0.5, "the budget of 0.5 pays for no run, as the first one costs 1"),
        (Budget(5, lambda study, run: math.nan), "function returned nan for mup at width 8"),
        (Budget(5, lambda study, run: -1.0), "function returned -1.0 .* is not negative"),
    ],
)
def test_a_budget_that_pays_for_no_run_is_said(tmp_path: Path, budget: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        sweep(still(width=[8], rules=["mup"]), tmp_path, search="refine", budget=budget)


def run(**changes: Any) -> Run:
    """A run of the study, but for the changes."""
    return Run(**{"rule": "mup", "size": {"width": 8}, "point": {"lr": 0.5}, "seed": 0} | changes)


@pytest.mark.parametrize(
    ("proposed", "message"),
    [
        (None, r"Own.propose returned None: return a list of Run, and an empty one to end"),
        ("mup", "returned 'mup': return a list of Run"),
        ([0.5], r"returned \[0.5\]: return a list of Run"),
        ([run(), run(size={"width": 9})], "a run of width 9, which the study does not have"),
        ([run(seed=5)], "a run of seed 5, which the study does not have"),
        ([run(rule="sp")], "a run of rule 'sp', which"),
        ([run(point={"lr": 0.5, "init": 2})], "a run of a point of lr, init, which"),
        ([run(point={"init": 2})], "a run of a point of init, which"),
    ],
)
def test_proposals_that_the_record_would_not_show_are_refused(
    tmp_path: Path, proposed: Any, message: str
) -> None:
    class Own:
        def propose(self, study: Study, runs: Runs) -> list[Run]:
            return proposed  # type: ignore[no-any-return]

    with pytest.raises(MutransferError, match=message):
        sweep(still(width=[8], rules=["mup"]), tmp_path, search=Own())


def test_batches_judge_by_those_before(tmp_path: Path) -> None:
    wanted = still(width=[8], rules=["mup"])
    runs = sweep(wanted, tmp_path, search=Refine(within=2.0))
    asked = list(batches(Refine(within=2.0), wanted, Store(tmp_path)))
    first, *_, last = asked
    judge = last.judge(last.runs, 100)
    assert judge is not None
    lowest = min(map(last.finished.loss_of, last.finished.rows))
    assert min(judge.finished.values()) == lowest
    assert first.finished.rows == [] and first.judge(first.runs, 100) is not None
    assert sum(len(batch.runs) for batch in asked) == len(runs.rows)
    for search in (GridSearch(), Halving(), Refine(within=2.0, metric="final")):
        batch = next(batches(search, wanted, Store(tmp_path)))
        assert batch.judge(batch.runs, 100) is None


@pytest.mark.parametrize("search", [Refine, SurfaceSearch, partial(OptunaSearch, number=4)])
def test_the_lowest_accuracy_is_not_searched_for(search: Any) -> None:
    with pytest.raises(MutransferError, match=r"val_accuracy is better where it is higher"):
        search(metric="val_accuracy")
    assert search(metric="val/top1_error").metric == "val/top1_error"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"search": "tpe"}, "search is 'tpe': give 'grid', 'refine', or an object"),
        ({"search": Refine}, "search is <class"),
        ({"extend": -1}, "extend is -1"),
        ({"search": "refine", "extend": 2}, "extend=2 is for search='grid'"),
        ({"within": 0.5}, "within=0.5 is for search='refine'"),
        ({"search": "refine", "within": 0.0}, "give a positive number"),
        ({"budget": 0}, "the budget is 0: give a positive number"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        sweep(still(), tmp_path / "a", **arguments)
    assert not (tmp_path / "a").exists()
