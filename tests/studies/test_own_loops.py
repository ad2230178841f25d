"""Training loops of one's own: what they may report, hold and be."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError, Runs, Study, Trial, command, log2, sweep, transfer
from mutransfer.engines import Future, Here, Resources
from mutransfer.studies import LengthWarning, Refine, _sweep
from mutransfer.tasks import accuracy
from tests.studies.small_study import data, double, on_disk


def build(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3))


def study(train: Any = None, **changes: Any) -> Study:
    grid: dict[str, Any] = {"width": [4, 8], "lr": [2**-7, 2**-6, 2**-5], "seeds": 2}
    return Study(build, train=train, **grid | changes)


@pytest.mark.parametrize("name", ["lr", "seed", "width", "status", "final", "steps"])
def test_metrics_do_not_overwrite_what_was_run(tmp_path: Path, name: str) -> None:
    runs = sweep(study(lambda trial: trial.report(0, 1.0, **{name: 0.5})), tmp_path)
    assert {row["lr"] for row in runs.rows} == {2**-7, 2**-6, 2**-5}
    assert {row["status"] for row in runs.rows} == {"failed"}
    assert all(f"a metric is named {name!r}" in row["message"] for row in runs.rows)


def test_metrics_of_a_task_do_not_overwrite_what_was_run(tmp_path: Path) -> None:
    def error(output: Tensor, targets: Tensor) -> Tensor:
        return 1 - accuracy(output, targets)

    task = data()
    for name in ("lr", "loss", "width"):
        object.__setattr__(task, "metrics", {name: error})
        with pytest.raises(MutransferError, match=f"a metric is named '{name}'"):
            sweep(Study(double, width=[8], depth=[2], lr=[0.5], task=task), tmp_path)


@pytest.mark.parametrize("name", ["seed", "status", "final", "steps"])
def test_hyperparameters_have_columns_of_their_own(name: str) -> None:
    with pytest.raises(MutransferError, match=f"hyperparameter cannot be named '{name}'"):
        study(lambda trial: None, hyperparameters={name: [1, 2]})


def test_axes_have_columns_of_their_own() -> None:
    with pytest.raises(MutransferError, match="an axis cannot be named 'seed'"):
        Study(build, axes={"seed": [1, 2]}, lr=0.5, train=lambda trial: None)


def test_hyperparameters_of_the_loop_alone_are_not_the_builders(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        assert trial.model[0].out_features == trial.size["width"]  # type: ignore[index]
        trial.report(0, trial.hyperparameters["ema"])

    runs = sweep(study(train, hyperparameters={"ema": [0.5, 0.75]}), tmp_path)
    assert [row["loss"] for row in runs.rows] == [row["ema"] for row in runs.rows]


class Loop:
    def __init__(self, loss: float) -> None:
        self.loss, self.runs = loss, 0

    def train(self, trial: Trial) -> None:
        self.runs += 1
        trial.report(0, self.loss + trial.lr)

    def __call__(self, trial: Trial) -> None:
        self.train(trial)


@pytest.mark.parametrize("part", ["train", "__call__"])
def test_a_loop_that_counts_its_runs_is_the_same_loop(tmp_path: Path, part: str) -> None:
    loop = Loop(1.0)
    counting = study(loop if part == "__call__" else loop.train)
    runs = sweep(counting, tmp_path)
    assert len(runs.rows) == loop.runs == 12
    assert sweep(counting, tmp_path).rows == runs.rows
    assert loop.runs == len(on_disk(tmp_path)) == 12


@pytest.mark.filterwarnings("ignore::mutransfer.studies.RecordWarning")
def test_methods_of_other_objects_are_other_loops(tmp_path: Path) -> None:
    first, second = (sweep(study(Loop(loss).train), tmp_path).rows for loss in (1.0, 2.0))
    assert [row["loss"] - 1 for row in second] == [row["loss"] for row in first]


def test_a_diverged_run_has_diverged_by_every_metric(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 1.0, validation=1 - trial.lr)
        trial.report(1, math.nan if trial.lr == 2**-5 else 0.5)

    runs = sweep(study(train), tmp_path).with_metric("validation")
    rates, losses = runs.losses("default", runs.sizes("default")[0])
    assert losses[0].tolist() == [1 - rates[0], 1 - rates[1], math.inf]


def mixed(trial: Trial) -> None:
    if trial.lr == 2**-7:
        raise ValueError("no data")
    if trial.lr == 2**-6:
        trial.stop()
    trial.report(0, 1.0, validation=0.5)


def test_failed_and_stopped_runs_are_counted_as_such(tmp_path: Path) -> None:
    runs = sweep(study(mixed), tmp_path)
    assert str(runs).splitlines()[0].endswith("; 0 diverged, 4 stopped, 4 failed")


def test_runs_without_the_metric_are_read_again(tmp_path: Path) -> None:
    runs = sweep(study(mixed), tmp_path).with_metric("validation")
    assert Runs.from_json(runs.to_json()) == runs


def test_a_loop_needs_no_task(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        # A tensor with its graph, which torch warns of where it is made a number.
        trial.report(0, trial.model(torch.ones(2, 7)).square().mean())

    def seven(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(7, width), nn.ReLU(), nn.Linear(width, 3))

    runs = sweep(Study(seven, width=[4, 8], lr=[0.25, 0.5], train=train), tmp_path)
    assert {row["status"] for row in runs.rows} == {"finished"}


@pytest.mark.parametrize("later", [0.5, math.nan])
def test_a_run_that_goes_on_after_its_end_is_not_noted(tmp_path: Path, later: float) -> None:
    def train(trial: Trial) -> None:
        for step, loss in enumerate([1.0, math.nan, later, later]):
            with suppress(Exception):
                trial.report(step, loss)

    rows = sweep(study(train), tmp_path).rows
    assert {(row["status"], row["diverged_at"]) for row in rows} == {("diverged", 1)}
    assert all(row["curve"] == [1.0] for row in rows)


def test_values_that_change_nothing_are_among_those_of_a_trial(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        known = trial.hyperparameters
        assert known["schedule"] in {"constant", "cosine"}
        trial.report(0, known["readout"] + known["warmup"])

    swept = {"readout": [1, 2], "warmup": [0, 10], "schedule": ["constant", "cosine"], "seeds": 1}
    rows = sweep(study(train, **swept), tmp_path).rows
    assert [row["loss"] for row in rows] == [row["readout"] + row["warmup"] for row in rows]
    usual = {"readout": 1, "warmup": 0, "schedule": "constant", "seeds": 1}
    fixed = sweep(study(train, **usual), tmp_path / "fixed").rows
    assert {row["loss"] for row in fixed} == {1.0}


@pytest.mark.parametrize(("code", "status"), [(0, "finished"), (None, "finished"), (3, "failed")])
def test_a_loop_may_exit_as_scripts_do(tmp_path: Path, code: int | None, status: str) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 1.0)
        raise SystemExit(code)

    assert {row["status"] for row in sweep(study(train), tmp_path).rows} == {status}


def test_empty_braces_of_a_command_are_refused() -> None:
    with pytest.raises(MutransferError, match="has empty braces"):
        study(command("python -c 'print({})'"))


def test_finished_runs_without_the_metric_have_not_diverged(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 1.0, **({"validation": 0.5} if trial.seed else {}))

    runs = sweep(study(train), tmp_path)
    message = r"6 of 12 finished runs have no metric 'validation', such as default at width 4"
    with pytest.raises(MutransferError, match=message):
        runs.with_metric("validation")


def test_a_loop_trains_on_the_device_of_the_sweep(tmp_path: Path) -> None:
    seen: list[torch.device] = []

    def train(trial: Trial) -> None:
        seen.extend([trial.device, next(trial.model.parameters()).device])
        trial.report(0, 1.0)

    one = study(train, width=[4], lr=[0.1], seeds=1, task=data())
    sweep(one, tmp_path, device="meta")
    assert seen == [torch.device("meta")] * 2


def test_a_loop_on_a_card_asks_the_engine_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Resources] = []

    class Asked(Here):
        def submit(self, resources: Resources, function: Any, /, *arguments: Any) -> Future:
            asked.append(resources)
            return super().submit(resources, function, *arguments)

    def train(trial: Trial) -> None:
        trial.report(0, 1.0)

    monkeypatch.setattr(_sweep, "check_device", lambda _: None)
    one = study(train, width=[4], lr=[0.1], seeds=1, task=data())
    sweep(one, tmp_path, device="cuda:0", engine=Asked())
    assert asked == [Resources(gpus=1)]


def impatient(trial: Trial) -> None:
    """Low rates give up after a quarter of their steps, while the loss falls for all."""
    away = math.log2(trial.lr) + 7
    steps = 20 if away > 1.5 else 80
    for step in range(1, steps + 1, 5):
        loss = 3 + 2 * math.exp(-step / 10) + 0.05 * away**2
        trial.report(step, loss, validation=loss)


def uneven(train: Any = impatient) -> Study:
    return Study(build, train=train, width=[4], lr=log2(-9, -3), seeds=1, steps=80)


def test_means_over_unequal_parts_of_training_do_not_compare(tmp_path: Path) -> None:
    """The mean over a fifth of the steps is another quantity than that over all."""
    message = "3 of 7 runs at width 4 report losses of a part of training, such as steps 1 to 16"
    with pytest.warns(LengthWarning, match=message):
        runs = sweep(uneven(), tmp_path / "grid")
    with pytest.raises(MutransferError, match=f"{message} of 1 to 76.*metric='final'"):
        transfer(runs)
    for metric in ("final", "validation"):
        found = transfer(runs.with_metric(metric))["default"].hyperparameters
        assert math.log2(found["lr"]) == pytest.approx(-7, abs=0.5)
    with pytest.raises(MutransferError, match="means over unequal parts do not compare"):
        sweep(uneven(), tmp_path / "few", search="refine")
    with pytest.warns(LengthWarning):
        sweep(uneven(), tmp_path / "few", search=Refine(metric="final", within=1.0))


@pytest.mark.parametrize(
    "steps",
    [
        lambda trial: [80],
        # One loss is no mean over a part, and a log by the clock ends at about the same step.
        lambda trial: [20 if trial.lr > 2**-6 else 80],
        lambda trial: [1, 40, 77 if trial.lr > 2**-6 else 80],
    ],
)
def test_single_losses_and_nearly_equal_ends_compare(tmp_path: Path, steps: Any) -> None:
    def train(trial: Trial) -> None:
        for step in steps(trial):
            trial.report(step, 3 + (math.log2(trial.lr) + 7) ** 2)

    assert transfer(sweep(uneven(train), tmp_path))["default"].hyperparameters


def test_runs_that_go_on_without_their_first_losses_do_not_compare(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in range(40 if trial.lr == 2**-5 else 0, 80):
            trial.report(step, 3.0 - step / 80)

    with pytest.warns(LengthWarning, match="such as steps 40 to 79 of 0 to 79"):
        sweep(uneven(train), tmp_path)
