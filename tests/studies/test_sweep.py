"""A sweep trains what its study says, extends its grid, and goes on after a kill as if nothing had happened."""

import json
import math
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer._errors import MutransferError
from mutransfer.ensemble import Member, Recipe, train, train_one_by_one
from mutransfer.sweep import Progress, Run, Runs, Size, Study, estimate, log2, members, missing, sweep
from mutransfer.tasks import Task, cross_entropy, mlp

MODULE = import_module("mutransfer.sweep._sweep")
STEPS = 25


def double(width: int, depth: int) -> nn.Module:
    return mlp(width, depth, inputs=5, outputs=3).double()


def data() -> Task:
    inputs = torch.randn(64, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Task(name="rows", inputs=inputs, targets=inputs[:, :3].argmax(1), loss=cross_entropy)


def study(**changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [8, 16], "depth": [2], "lr": log2(-6, -3), "seeds": 2, "rules": ["sp", "default"], "optimizer": "adam"}
    return Study(changes.pop("build", double), **grid | {"task": data(), "steps": STEPS, "batch": 16} | changes)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members every call trained in full."""
    counts: list[int] = []

    def counting(members: Sequence[Member], recipe: Recipe, *rest: Any) -> Tensor:
        if recipe.steps == STEPS:
            counts.append(len(members))
        return train(members, recipe, *rest)

    monkeypatch.setattr(MODULE, "train", counting)
    return counts


def on_disk(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of all shards."""
    texts = [path.read_text() for path in sorted(folder.glob("rows-*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_rows_are_those_of_members_trained_alone(tmp_path: Path) -> None:
    own = study(lr=log2(-5, -3), optimizer="adamw", weight_decay=0.1, options={"betas": (0.8, 0.9)})
    rows = {row["id"]: row for row in sweep(own, tmp_path / "a").rows}
    assert len(rows) == len(own.runs())
    recipe = Recipe(task=own.task, steps=STEPS, batch=16, optimizer="adamw", options={"betas": (0.8, 0.9)})
    for (rule, size), runs in groupby(own.runs(), lambda run: (run.rule, run.size)):
        group = list(runs)
        for run, losses in zip(group, train_one_by_one(members(own, rule, size, group), recipe), strict=True):
            row = rows[own.run_id(run)]
            assert Run(**{name: row[name] for name in ("rule", "width", "depth", "lr", "seed")}) == run
            assert row["loss"] == pytest.approx(losses.mean().item(), rel=1e-10)
            assert row["final"] == pytest.approx(losses[-20:].mean().item(), rel=1e-10)
            assert row["curve"] == pytest.approx(losses.tolist(), rel=1e-10)
            assert row["diverged_at"] is None


def test_rules_scale_rates_and_draws_from_the_base() -> None:
    own = study(rules=["sp", "mup"])
    run = Run(rule="mup", width=16, depth=2, lr=0.5, seed=1)
    rates = {}
    for rule in own.rules:
        (made,) = members(own, rule, run.size, [run])
        rates[rule] = {name: group["lr"] for group in made.groups for name in group["names"]}
    assert set(rates["sp"].values()) == {0.5}
    assert {name: rate for name, rate in rates["mup"].items() if rate != 0.5} == {"hidden.0.weight": 0.25, "readout.weight": 0.25}


def test_a_longer_curve_is_thinned_to_means(tmp_path: Path) -> None:
    (row,) = sweep(study(width=[8], lr=[0.01], seeds=1, rules=["sp"], steps=110), tmp_path / "a").rows
    assert len(row["curve"]) == 55
    assert row["loss"] == pytest.approx(np.mean(row["curve"]), rel=1e-10)


@pytest.mark.parametrize("extend", [0, 2])
def test_diverged_runs_are_rows_without_losses(tmp_path: Path, extend: int) -> None:
    own = study(width=[8], lr=[2.0**-5, 2.0**-4, 2.0**60], rules=["sp"], optimizer="sgd")
    rows = sweep(own, tmp_path / "a", extend=extend).rows
    diverged = [row for row in rows if row["lr"] == 2.0**60]
    assert len(diverged) == 2
    for row in diverged:
        assert row["loss"] is None and row["final"] is None
        assert isinstance(row["diverged_at"], int) and row["diverged_at"] == len(row["curve"]) > 0
        assert all(map(math.isfinite, row["curve"]))
    assert all(row["loss"] > 0 for row in rows if row not in diverged)


class Broken(nn.Module):
    """Diverged from its first step on."""

    def __init__(self) -> None:
        super().__init__()
        self.readout = nn.Linear(5, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(x) * math.inf


def test_a_run_that_never_had_a_loss_is_a_row(tmp_path: Path) -> None:
    own = study(build=lambda width, depth: Broken(), width=[8], rules=["sp"])
    assert {(row["diverged_at"], row["loss"]) for row in sweep(own, tmp_path / "a").rows} == {(0, None)}


KILLED = '''
"""A study that stops for ever once its first chunk is in the record."""
import sys, time
from mutransfer.sweep import Study, log2, sweep
from mutransfer.tasks import mlp

study = Study(mlp, width=[16, 24, 32], depth=[2], lr=log2(-6, -4), seeds=2, rules=["sp", "mup"], steps=25, batch=32)

def hold(progress):
    if progress.runs.rows:
        print("ready", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    sweep(study, sys.argv[1], report=hold)
'''


def test_a_killed_sweep_finishes_as_an_undisturbed_one(tmp_path: Path, trained: list[int]) -> None:
    file, out = tmp_path / "killed.py", tmp_path / "killed"
    file.write_text(KILLED)
    with subprocess.Popen([sys.executable, file, out], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    own = runpy.run_path(str(file))["study"]
    (finished,) = out.glob("rows-*.jsonl")
    before = finished.read_bytes()
    assert len(on_disk(out)) == 12 and len(missing(own, out)) == 24

    resumed = sweep(own, out)
    assert trained == [12, 12], "the chunk that was finished is not trained again"
    assert finished.read_bytes() == before
    assert resumed.rows == Runs.read(out).rows == sweep(own, tmp_path / "whole").rows
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}
    assert missing(own, out) == []


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_is_repaired_by_resuming(tmp_path: Path, trained: list[int], cut: int) -> None:
    """A crash between the write and the disk: the run that lost its line is trained again, with its chunk, and no other."""
    own, out = study(rules=["sp"]), tmp_path / "a"
    whole = sweep(own, out).rows
    (shard,) = out.glob("rows-*.jsonl")
    shard.write_bytes(shard.read_bytes()[: -1 - cut])
    assert Runs.read(out).rows == whole[:-1] and missing(own, out) == own.runs()[-1:]
    trained.clear()
    assert sweep(own, out).rows == whole
    assert trained == [8]
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}


def test_a_finished_sweep_trains_nothing(tmp_path: Path, trained: list[int]) -> None:
    own = study()
    rows = sweep(own, tmp_path / "a").rows
    trained.clear()
    assert sweep(own, tmp_path / "a").rows == rows and trained == []


def test_a_grown_study_trains_only_what_is_new(tmp_path: Path) -> None:
    out = tmp_path / "a"
    before = sweep(study(width=[8], rules=["sp"], seeds=1), out).rows
    after = sweep(study(base={"width": 8}, rules=["sp"], seeds=2), out).rows
    assert [row for row in after if row in before] == before and len(after) == 16
    assert set(Counter(row["id"] for row in on_disk(out)).values()) == {1}


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    sweep(study(rules=["sp"]), tmp_path / "a")
    (shard,) = (tmp_path / "a").glob("rows-*.jsonl")
    first, *rest = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join([first[:-5] + "\n", *rest]))
    with pytest.raises(MutransferError, match="line 1 is damaged"):
        sweep(study(rules=["sp"]), tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"build": mlp}, "build"),
        ({"base": {"width": 4}}, "base"),
        ({"optimizer": "adamw"}, "optimizer"),
        ({"options": {"betas": (0.9, 0.9)}}, "options"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"steps": 3}, "steps"),
        ({"batch": 8}, "batch"),
        ({"task": "digits"}, "task"),
    ],
)
def test_another_studys_record_is_refused(tmp_path: Path, trained: list[int], changes: dict[str, Any], field: str) -> None:
    out = tmp_path / "a"
    small = {"width": [8], "rules": ["sp"], "seeds": 1}
    sweep(study(**small), out)
    trained.clear()
    with pytest.raises(MutransferError, match=f"was written by another study: its {field} is"):
        sweep(study(**small | changes), out)
    assert trained == []


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path: Path, trained: list[int]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MutransferError, match="cannot write to"):
        sweep(study(), tmp_path / "file" / "below")
    assert trained == []


def planted(best: Callable[[int], float]) -> Callable[..., Tensor]:
    """Stands in for training: losses are a parabola about the best rate of each width, 2^best."""

    def train(members: Sequence[Member], recipe: Recipe, *_: Any) -> Tensor:
        width = members[0].model.readout.in_features
        rates = torch.tensor([math.log2(member.groups[0]["lr"]) for member in members], dtype=torch.float64)
        return (1 + (rates - best(width)) ** 2)[:, None].expand(-1, recipe.steps)

    return train


@pytest.mark.parametrize(
    ("best", "extend", "powers"),
    [
        (-4, 4, [-5, -4, -3]),
        (-4, 0, [-5, -4, -3]),
        (-7, 0, [-5, -4, -3]),
        (-7, 4, [-9, -8, -7, -6, -5, -4, -3]),
        (-9, 2, [-7, -6, -5, -4, -3]),
        (-5, 1, [-6, -5, -4, -3]),
        (-5, 4, [-7, -6, -5, -4, -3]),
        (-1, 4, [-5, -4, -3, -2, -1, 0, 1]),
        (5, 3, [-5, -4, -3, -2, -1, 0]),
        (math.nan, 2, [-7, -6, -5, -4, -3]),
    ],
)
def test_a_grid_is_extended_until_it_brackets_the_optimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: float, extend: int, powers: list[int]
) -> None:
    monkeypatch.setattr(MODULE, "train", planted(lambda _: best))
    own = study(width=[8], rules=["sp"], lr=log2(-5, -3))
    runs = sweep(own, tmp_path / "a", extend=extend)
    rates, losses = runs.losses("sp", Size(width=8, depth=2))
    assert rates == [2.0**power for power in powers] and losses.shape[0] == 2
    assert sweep(own, tmp_path / "a", extend=extend).rows == runs.rows


def test_each_size_is_extended_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "train", planted(lambda width: -4 if width == 8 else -6))
    runs = sweep(study(rules=["sp"], lr=log2(-5, -3)), tmp_path / "a", extend=4)
    assert {width: len(runs.losses("sp", Size(width=width, depth=2))[0]) for width in (8, 16)} == {8: 3, 16: 5}


@pytest.mark.parametrize("kept", range(5))
def test_a_torn_extension_is_finished_as_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """Two rates with two seeds lie beyond the grid; a crash left this many of their rows."""
    monkeypatch.setattr(MODULE, "train", planted(lambda _: -5.8))
    own, out = study(width=[8], rules=["sp"], lr=log2(-5, -3)), tmp_path / "a"
    whole = sweep(own, out, extend=4).rows
    (shard,) = out.glob("rows-*.jsonl")
    lines = shard.read_text().splitlines(keepends=True)
    assert len(lines) == len(whole) == 10
    shard.write_text("".join(lines[: 6 + kept]) + ("" if kept == 4 else lines[6 + kept][:30]))
    assert sorted(row["id"] for row in sweep(own, out, extend=4).rows) == sorted(row["id"] for row in whole)


def test_a_real_grid_is_extended_both_ways(tmp_path: Path) -> None:
    high = sweep(study(width=[8], rules=["sp"], lr=log2(4, 6)), tmp_path / "high", extend=2)
    low = sweep(study(width=[8], rules=["sp"], lr=log2(-20, -18)), tmp_path / "low", extend=2)
    assert sorted({row["lr"] for row in high.rows}) == log2(2, 6)
    assert sorted({row["lr"] for row in low.rows}) == log2(-20, -16)


def test_progress_comes_with_the_record_and_changes_nothing(tmp_path: Path) -> None:
    seen: list[Progress] = []
    own = study()
    assert sweep(own, tmp_path / "a", report=seen.append).rows == sweep(own, tmp_path / "b").rows
    assert list(dict.fromkeys(each.size for each in seen)) == own.sizes()
    assert all(0 < each.done <= each.total for each in seen)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert len(seen[0].runs.rows) == 0 and len(seen[-1].runs.rows) == 16


def test_an_estimate_is_of_the_right_order(tmp_path: Path) -> None:
    own = study(width=[8], rules=["sp"])
    assert 0 < estimate(own, own.runs()) < 30
    assert estimate(own, []) == 0
    assert missing(own, tmp_path / "none") == own.runs()


class Dropping(torch.nn.Module):
    """A network that draws while it trains."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input, self.readout = torch.nn.Linear(64, width), torch.nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(torch.nn.functional.dropout(torch.relu(self.input(x)), 0.5, self.training))


def dropping(width: int, depth: int) -> torch.nn.Module:
    return Dropping(width)


def test_dropout_is_drawn_alike_every_time(tmp_path: Path) -> None:
    wanted = Study(dropping, width=[8], depth=[1], lr=[0.01], seeds=1, steps=3)
    rows = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        rows.append(sweep(wanted, tmp_path / str(seed)).rows)
    assert rows[0] == rows[1]
