"""A sweep trains the runs of its study, and resumes after a kill as if nothing had happened."""

import math
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer import MutransferError, Progress, Runs, Size, Study, log2, sweep
from mutransfer.studies import RecordWarning, Run, estimate, members, missing
from mutransfer.tasks import digits, mlp
from mutransfer.training import Recipe, train_one_by_one
from tests.models import Net, dropped
from tests.studies.small_study import FIRST, STEPS, Counted, data, double, on_disk, study, untimed


def test_rows_are_those_of_members_trained_alone(tmp_path: Path) -> None:
    wanted = study(
        lr=log2(-5, -3), optimizer="adamw", weight_decay=0.1, options={"betas": (0.8, 0.9)}
    )
    rows = {row["id"]: row for row in sweep(wanted, tmp_path / "a").rows}
    assert len(rows) == len(wanted.runs())
    options = {"betas": (0.8, 0.9)}
    recipe = Recipe(task=wanted.task, steps=STEPS, batch=16, optimizer="adamw", options=options)
    for _, runs in groupby(wanted.runs(), lambda run: (run.rule, run.size)):
        group = list(runs)
        curves = train_one_by_one(members(wanted, group), recipe).losses
        for run, losses in zip(group, curves, strict=True):
            row = rows[wanted.run_id(run)]
            fields = {name: row[name] for name in ("rule", "width", "depth", "lr", "seed")}
            assert fields == run.row()
            assert row["loss"] == pytest.approx(losses.mean().item(), rel=1e-10)
            assert row["final"] == pytest.approx(losses[-20:].mean().item(), rel=1e-10)
            assert row["curve"] == pytest.approx(losses.tolist(), rel=1e-10)
            assert row["diverged_at"] is None


def test_rules_scale_rates_and_draws_from_the_base() -> None:
    wanted = study(rules=["sp", "mup"])
    size = Size(width=16, depth=2)
    rates = {}
    for rule in ("sp", "mup"):
        (member,) = members(wanted, [Run(rule=rule, size=size, point={"lr": 0.5}, seed=1)])
        rates[rule] = {name: row.lr for name, row in member.table.items()}
    assert set(rates["sp"].values()) == {0.5}
    assert {name: rate for name, rate in rates["mup"].items() if rate != 0.5} == {
        "hidden.0.weight": 0.25,
        "readout.weight": 0.25,
    }


def test_a_longer_curve_is_thinned_to_means(tmp_path: Path) -> None:
    (row,) = sweep(
        study(width=[8], lr=[0.01], seeds=1, rules=["sp"], steps=110), tmp_path / "a"
    ).rows
    assert len(row["curve"]) == 55
    assert row["loss"] == pytest.approx(np.mean(row["curve"]), rel=1e-10)


@pytest.mark.parametrize("extend", [0, 2])
def test_diverged_runs_are_rows_without_losses(tmp_path: Path, extend: int) -> None:
    wanted = study(width=[8], lr=[2.0**-5, 2.0**-4, 2.0**60], rules=["sp"], optimizer="sgd")
    rows = sweep(wanted, tmp_path / "a", extend=extend).rows
    diverged = [row for row in rows if row["lr"] == 2.0**60]
    assert len(diverged) == 2
    for row in diverged:
        assert row["loss"] is None and row["final"] is None
        assert isinstance(row["diverged_at"], int) and row["diverged_at"] == len(row["curve"]) > 0
        assert all(map(math.isfinite, row["curve"]))
    assert all(row["loss"] > 0 for row in rows if row not in diverged)


def test_a_run_that_never_had_a_loss_is_a_row(tmp_path: Path) -> None:
    def build(width: int, depth: int) -> nn.Module:
        return Net(lambda model, x: model.readout(x) * math.inf, readout=nn.Linear(5, 3).double())

    rows = sweep(study(build=build, width=[8], rules=["sp"]), tmp_path / "a").rows
    assert {(row["diverged_at"], row["loss"]) for row in rows} == {(0, None)}


KILLED = '''
"""A study that stops for ever once its first chunk is in the record."""
import sys, time
from mutransfer import Study, log2, sweep
from mutransfer.tasks import digits, mlp

grid = {"width": [16, 24, 32], "depth": [2], "lr": log2(-6, -4), "seeds": 2, "rules": ["sp", "mup"]}
settings = grid | {"steps": 25, "batch": 32}

def hold(progress):
    if progress.result.rows:
        print("ready", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    sweep(Study(mlp, **settings), sys.argv[1], progress=hold)
'''


def test_a_killed_sweep_finishes_as_an_undisturbed_one(tmp_path: Path) -> None:
    file, out = tmp_path / "killed.py", tmp_path / "killed"
    file.write_text(KILLED)
    with subprocess.Popen([sys.executable, file, out], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    counted = Counted(digits())
    wanted = Study(mlp, **runpy.run_path(str(file))["settings"], task=counted.task)
    (finished,) = out.glob("rows-*.jsonl")
    before = finished.read_bytes()
    assert len(on_disk(out)) == 12 and len(missing(wanted, out)) == 24

    resumed = sweep(wanted, out)
    assert counted.steps == FIRST + 2 * STEPS, "the chunk that was finished is not trained again"
    assert finished.read_bytes() == before
    assert resumed.rows == Runs.read(out).rows
    assert untimed(resumed) == untimed(sweep(wanted, tmp_path / "whole"))
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}
    assert missing(wanted, out) == []


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_is_repaired_by_resuming(tmp_path: Path, cut: int) -> None:
    """The run that lost its line is trained again with its chunk, and no other."""
    counted, out = Counted(data()), tmp_path / "a"
    wanted = study(rules=["sp"], task=counted.task)
    whole = untimed(sweep(wanted, out))
    (shard,) = out.glob("rows-*.jsonl")
    shard.write_bytes(shard.read_bytes()[: -1 - cut])
    assert untimed(Runs.read(out)) == whole[:-1] and missing(wanted, out) == wanted.runs()[-1:]
    counted.steps = 0
    assert untimed(sweep(wanted, out)) == whole
    assert counted.steps == FIRST + STEPS
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}


def test_a_finished_sweep_trains_nothing(tmp_path: Path) -> None:
    counted = Counted(data())
    wanted = study(task=counted.task)
    rows = sweep(wanted, tmp_path / "a").rows
    assert counted.steps == FIRST + 2 * STEPS
    assert sweep(wanted, tmp_path / "a").rows == rows
    assert counted.steps == 2 * (FIRST + STEPS)


def test_a_grown_study_trains_only_new_runs(tmp_path: Path) -> None:
    out = tmp_path / "a"
    before = sweep(study(width=[8], rules=["sp"], seeds=1), out).rows
    after = sweep(study(base={"width": 8}, rules=["sp"], seeds=2), out).rows
    assert [row for row in after if row in before] == before and len(after) == 16
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}


def test_a_damaged_line_is_said_and_its_run_is_trained_again(tmp_path: Path) -> None:
    whole = sweep(study(rules=["sp"]), tmp_path / "a")
    (shard,) = (tmp_path / "a").glob("rows-*.jsonl")
    first, *rest = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join([first[:-5] + "\n", *rest]))
    with pytest.warns(RecordWarning, match="line 1 is damaged"):
        again = sweep(study(rules=["sp"]), tmp_path / "a")
    assert sorted(untimed(again), key=str) == sorted(untimed(whole), key=str)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"build": partial(double, depth=3), "depth": None}, "base"),
        ({"base": {"width": 4}}, "base"),
        ({"optimizer": "adamw"}, "optimizer"),
        ({"options": {"betas": (0.9, 0.9)}}, "options"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"steps": 3}, "steps"),
        ({"batch": 8}, "batch"),
        ({"task": replace(data(), name="other")}, "task"),
    ],
)
def test_another_studys_runs_go_beside_those_of_the_record(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    out, small = tmp_path / "a", {"width": [8], "rules": ["sp"], "seeds": 1}
    before = sweep(study(**small), out)
    with pytest.warns(RecordWarning, match=f"4 runs of another study: its {field} is"):
        after = sweep(study(**small | changes), out)
    assert Runs.read(out).rows == after.rows and len(on_disk(out)) == 8
    with pytest.warns(RecordWarning, match=f"8 runs of another study: its {field} is"):
        assert sweep(study(**small), out).rows == before.rows
    assert len(on_disk(out)) == 8, "what was trained once is not trained again"


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path: Path) -> None:
    counted = Counted(data())
    (tmp_path / "file").write_text("")
    with pytest.raises(MutransferError, match="cannot write to"):
        sweep(study(task=counted.task), tmp_path / "file" / "below")
    assert counted.steps == 0


def test_progress_comes_with_the_record_and_changes_nothing(tmp_path: Path) -> None:
    seen: list[Progress] = []
    wanted = study()
    runs = sweep(wanted, tmp_path / "a", progress=seen.append)
    assert untimed(runs) == untimed(sweep(wanted, tmp_path / "b"))
    assert list(dict.fromkeys(progress.what for progress in seen)) == [*map(str, wanted.sizes())]
    assert all(0 <= progress.done <= progress.total for progress in seen)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert len(seen[0].result.rows) == 0 and seen[-1].result.rows == runs.rows
    assert seen[-1].done == seen[-1].total


def test_an_estimate_is_of_the_right_order(tmp_path: Path) -> None:
    wanted = study(width=[8], rules=["sp"])
    assert 0 < estimate(wanted, wanted.runs()) < 30
    assert estimate(wanted, []) == 0
    assert missing(wanted, tmp_path / "none") == wanted.runs()


def test_dropout_is_drawn_alike_every_time(tmp_path: Path) -> None:
    wanted = Study(dropped, width=[8], depth=[1], lr=[0.01], seeds=1, steps=3)
    rows = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        rows.append(untimed(sweep(wanted, tmp_path / str(seed))))
    assert rows[0] == rows[1]
