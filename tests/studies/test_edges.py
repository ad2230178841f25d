"""Edges of studies: values that are no numbers, loops of one's own, records that grow."""

import math
import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError, Runs, Size, Study, sweep, transfer
from mutransfer.core import Progress
from mutransfer.figures import panels, sections
from mutransfer.rules import HORIZON_RULES
from mutransfer.studies import (
    OneAtATime,
    Random,
    Trial,
    command,
    estimate,
    members,
    recipe,
    track,
)
from mutransfer.tasks import _data, gpt
from mutransfer.training import _choice
from tests.studies.small_study import STEPS, data, double, short, study


def halved(step: int, steps: int, factor: float = 0.5) -> float:
    return factor


def shaped(width: int, depth: int, shape: Any = None) -> nn.Module:
    return double(width, depth)


def falling(trial: Trial) -> None:
    for step in range(5):
        trial.report(step, 2.0 - step / 10)


def own(**changes: Any) -> Study:
    return Study(None, **{"width": [8], "lr": [0.1], "seeds": 1, "train": falling} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": partial(halved, factor=0.25)},
        {"schedule": [halved, partial(halved, factor=0.25)], "design": OneAtATime()},
        {"hyperparameters": {"shape": [(1, 2), (2, 3)]}},
        {"hyperparameters": {"shape": np.array([1, 2])}},
        {"hyperparameters": {"shape": [{"rows": 1}, {"rows": 2}]}},
        {"hyperparameters": {"shape": {"rows": 1}}},
        {"hyperparameters": {"shape": [torch.float32, torch.float64]}},
        {"label_smoothing": 0.1},
    ],
)
def test_values_of_any_kind_are_recorded(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted = short(build=shaped, rules=["sp"], **changes)
    runs = sweep(wanted, tmp_path, extend=1)
    assert len(runs.rows) >= len(wanted.runs()) and runs == sweep(wanted, tmp_path, extend=1)
    assert Runs.from_json(runs.to_json()) == runs
    for over in runs.hyperparameters:
        assert np.isfinite(runs.losses("sp", Size(width=8, depth=3), over)[1]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"accumulate": 3}, "does not divide into 3"),
        ({"precision": "half"}, "unknown precision"),
        ({"warmup": [0, 1.5]}, "warmup is 1.5"),
        ({"batch": 2.5}, "batch has values that are no whole numbers"),
        ({"lr": None}, "lr is None: give learning rates"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov needs a momentum"),
    ],
)
def test_recipes_are_checked_at_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        short(**changes)


@pytest.mark.parametrize("changes", [{"batch": [8, 16, 32]}, {"readout": 2}])
def test_a_smaller_batch_or_another_multiplier_is_no_other_model(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    first = {"batch": [16, 32]} if "batch" in changes else {"readout": 4}
    sweep(short(rules=["mup"], **first), tmp_path)
    wanted = short(rules=["mup"], **changes)
    if "readout" in changes:
        with pytest.warns(match="its readout is 4.0"):
            assert len(sweep(wanted, tmp_path).rows) == len(wanted.runs())
    else:
        assert len(sweep(wanted, tmp_path).rows) == len(wanted.runs())


def test_random_points_among_whole_numbers_are_whole() -> None:
    points = short(warmup=[0, 5], design=Random(20)).points()
    assert {point["warmup"] for point in points} == set(range(6))


def test_trials_have_values_that_change_nothing(tmp_path: Path) -> None:
    seen: list[float] = []

    def train(trial: Trial) -> None:
        seen.append(trial.hyperparameters["warmup"])
        falling(trial)

    sweep(own(train=train, warmup=[0, 10], context=[8, 16]), tmp_path)
    assert seen == [0, 10, 0, 10]


def test_a_loop_without_a_task_needs_no_data(tmp_path: Path, monkeypatch: Any) -> None:
    # Without scikit-learn, digits cannot be loaded.
    monkeypatch.setitem(sys.modules, "sklearn", None)
    # Loaded anew: a cleared cache would be another task than that of other tests.
    monkeypatch.setattr(_data, "_digits", _data._digits.__wrapped__)

    def train(trial: Trial) -> None:
        assert trial.param_groups()
        falling(trial)

    wanted = Study(gpt, width=[32, 64], depth=[1], lr=[0.1], seeds=1, train=train)
    assert {row["status"] for row in sweep(wanted, tmp_path).rows} == {"finished"}


def test_context_is_an_axis_of_models_with_positions(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"width": [32, 64], "depth": [1], "lr": [0.01], "seeds": 1}
    wanted = Study(gpt, **grid, context=[8, 16], task="pydocs", steps=2, batch=4)
    runs = sweep(wanted, tmp_path)
    assert len({row["loss"] for row in runs.rows}) == 4 and runs.axes[-1] == "context"


def test_the_least_context_may_be_that_of_a_larger_model(tmp_path: Path) -> None:
    sizes = [{"width": w, "context": c} for w, c in ((16, 16), (32, 8), (32, 16))]
    wanted = Study(gpt, axes=sizes, lr=[0.01], seeds=1, task="pydocs", steps=2, batch=4)
    rows = sweep(wanted, tmp_path).rows
    assert [row["status"] for row in rows] == ["finished"] * len(wanted.runs())


def test_a_fixed_context_is_part_of_the_id() -> None:
    ids = [
        (wanted := own(task=lambda context: data(), context=context)).run_id(wanted.runs()[0])
        for context in (8, 16)
    ]
    assert len(set(ids)) == 2


def test_a_metric_does_not_overwrite_a_column(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 2.0, lr=0.5)

    [row] = sweep(own(train=train), tmp_path).rows
    assert row["status"] == "failed" and "'lr'" in row["message"] and row["lr"] == 0.1


def test_a_run_that_goes_on_after_its_end_is_a_row(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step, loss in enumerate([2.0, math.nan, 1.0]):
            try:
                trial.report(step, loss)
            except Exception:
                continue

    [row] = sweep(own(train=train), tmp_path).rows
    assert row["status"] == "diverged" and row["diverged_at"] == 1 and row["curve"] == [2.0]


def test_failed_runs_are_not_diverged_and_end_no_extension(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        if trial.seed == 1 and trial.lr > 0.15:
            raise RuntimeError("no luck")
        falling(trial)

    runs = sweep(own(train=train, lr=[0.1, 0.2], seeds=2), tmp_path, extend=2)
    assert len(runs.rows) == 4 and "; 0 diverged, 1 failed" in str(runs)


def test_a_log_of_an_earlier_run_is_not_read(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log.jsonl"
    script.write_text(
        "import json, sys, time\n"
        "time.sleep(0.2)\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    print(json.dumps({'step': 0, 'loss': 1 + float(sys.argv[2])}), file=file)\n"
    )
    line = f"{sys.executable} {script} {log} {{lr}} {{width}} {{init.blocks.*}}"
    wanted = own(
        train=command(line, log=str(log)),
        lr=[0.1, 0.2],
        hyperparameters={"init.blocks.*": [1.0, 2.0]},
    )
    runs = sweep(wanted, tmp_path / "record")
    assert [row["loss"] for row in runs.rows] == [1.1, 1.1, 1.2, 1.2]


class Branching(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.sum()) < math.inf
        return self.inner(x)  # type: ignore[no-any-return]


def branching(width: int, depth: int) -> nn.Module:
    return Branching(double(width, depth))


@pytest.mark.filterwarnings("ignore:.*trains one by one")
def test_progress_of_members_one_by_one_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[Progress] = []
    sweep(study(build=branching, rules=["sp"], width=[8]), tmp_path, progress=seen.append)
    assert max(progress.done / progress.total for progress in seen) <= 1 + 1e-9


@pytest.mark.filterwarnings("ignore:.*trains one by one")
def test_an_estimate_is_of_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every call of the watch is a second later: a step of all members, or of one.
    together, alone = (study(build=build, rules=["sp"], width=[8]) for build in (double, branching))
    clock = count()
    monkeypatch.setattr(_choice.time, "perf_counter", lambda: float(next(clock)))
    assert estimate(together, together.runs()) == STEPS
    assert estimate(alone, alone.runs()) == len(alone.runs()) * STEPS


def test_a_horizon_scales_the_optimizers_own_eps_and_decay() -> None:
    changes = {"steps": [4, 16], "base": {"steps": 4}, "horizon": "complete-d"}
    open_, given = (
        study(optimizer="adamw", **changes, **more)
        for more in ({}, {"eps": 1e-8, "weight_decay": 0.01})
    )
    run = open_.runs()[-1]
    tables = [members(each, [run])[0].table for each in (open_, given)]
    assert tables[0] == tables[1]
    assert {row.eps for row in tables[0].values()} != {1e-8}


def test_a_horizon_of_two_optimizers_is_stated_for_both() -> None:
    changes = {"steps": [4, 16], "base": {"steps": 4}, "optimizer": "muon-original+adamw"}
    with pytest.raises(MutransferError, match="is stated for adamw"):
        study(rules=["mup"], horizon="complete-d", **changes)
    rule = replace(HORIZON_RULES["complete-d"], optimizers=("adamw", "muon-original"))
    both, single = (
        study(rules=["mup"], **changes | {"horizon": rule, "optimizer": optimizer})
        for optimizer in ("muon-original+adamw", "adamw")
    )
    run = both.runs()[-1]
    assert recipe(both, run).options["adamw"] == recipe(single, run).options
    assert recipe(single, run).options["betas"] != (0.9, 0.999)


def test_a_horizon_scales_the_groups_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def train(trial: Trial) -> None:
        seen.append(trial.param_groups()[0] | dict(trial.hyperparameters))
        falling(trial)

    changes = {"steps": [4, 16], "base": {"steps": 4}, "horizon": "complete-d", "train": train}
    sweep(study(optimizer="adamw", rules=["sp"], width=[8], seeds=1, lr=[0.1], **changes), tmp_path)
    base, long = seen
    assert base["eps"] == 1e-8 and base["weight_decay"] == 0.01 and base["beta2"] == 0.999
    assert long["eps"] != 1e-8 and long["weight_decay"] != 0.01 and long["beta2"] != 0.999


def test_a_size_where_every_run_failed_is_not_drawn(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        if trial.size["width"] == 16:
            raise RuntimeError("out of memory")
        falling(trial)

    runs = sweep(own(train=train, width=[8, 16], lr=[0.1, 0.2, 0.3]), tmp_path)
    found = transfer(runs)
    [panel] = panels(sections(found))
    assert not found.ok and [line.size for line in panel.lines] == [Size(width=8)]


def test_a_tracked_curve_ends_where_training_diverged() -> None:
    class Steps:
        def __init__(self) -> None:
            self.steps: list[int] = []

        def start(self, name: str, config: Any) -> None: ...
        def log(self, step: int, values: Any) -> None:
            self.steps.append(step)

        def finish(self, summary: Any) -> None: ...

    tracker = Steps()
    row = {"id": "a", "steps": 1000, "curve": [2.0, 1.0, 1.5], "diverged_at": 60}
    track(tracker, [row], ["id"])
    assert tracker.steps == [20, 40, 60]
