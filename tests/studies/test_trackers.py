"""Trackers get every run with its numbers by step."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.studies import TensorBoard, Trial, Wandb, track
from tests.studies.small_study import on_disk, study
from tests.studies.test_record import validated

NAMES = ("rule", "width", "depth", "lr", "seed", "schedule")


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, dict[str, Any], list[tuple[int, Any]], dict[str, Any]]] = []

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        self.runs.append((name, dict(config), [], {}))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.runs[-1][2].append((step, dict(values)))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.runs[-1][3].update(summary)


def swept(folder: Path, **changes: Any) -> mt.Runs:
    grid: dict[str, Any] = {"width": [8], "lr": [0.01], "rules": ["mup"], "seeds": 2, "steps": 4}
    return mt.sweep(study(**grid | changes), folder)


def test_a_tracker_gets_configuration_curves_and_summary(tmp_path: Path) -> None:
    runs = swept(tmp_path, schedule=["linear", "cosine"], task=validated(), evaluate=2)
    recorder = Recorder()
    track(recorder, runs.rows, NAMES)
    assert len(recorder.runs) == 4
    for row, (name, config, logged, summary) in zip(runs.rows, recorder.runs, strict=True):
        assert name == row["id"] and config == {name: row[name] for name in NAMES}
        steps = [step for step, _ in logged]
        assert steps == [1, 2, 3, 4]
        assert [values["loss"] for _, values in logged] == row["curve"]
        evaluated = {step: values for step, values in logged if "validation" in values}
        assert [*evaluated] == [2, 4]
        assert [each["validation"] for each in evaluated.values()] == row["validation_curve"]
        assert [each["accuracy"] for each in evaluated.values()] == row["accuracy_curve"]
        for field in ("loss", "final", "validation", "accuracy", "status", "seconds"):
            assert summary[field] == row[field]
        assert summary.keys().isdisjoint(NAMES)


def test_a_sweep_tells_its_tracker_as_runs_enter_the_record(tmp_path: Path) -> None:
    grid: dict[str, Any] = {"width": [8, 16], "lr": [0.01], "rules": ["mup"], "seeds": 1}
    wanted, recorder = study(**grid, steps=3, readout=[1.0, 2.0]), Recorder()
    runs = mt.sweep(wanted, tmp_path, tracker=recorder)
    assert [name for name, *_ in recorder.runs] == [row["id"] for row in runs.rows]
    configs = [config for _, config, *_ in recorder.runs]
    assert [(config["width"], config["readout"]) for config in configs] == [
        (8, 1.0),
        (8, 2.0),
        (16, 1.0),
        (16, 2.0),
    ]
    mt.sweep(wanted, tmp_path, tracker=recorder)
    assert len(recorder.runs) == 4, "what was there before is not told again"


@pytest.mark.parametrize(
    ("tracker", "reason"),
    [
        (Recorder, r"the class Recorder: give an object of it, such as Recorder\(\)"),
        (print, "no start and no log and no finish"),
        (Path(), "give an object with start"),
    ],
)
def test_what_is_no_tracker_is_refused_before_the_start(
    tracker: Any, reason: str, tmp_path: Path
) -> None:
    grid: dict[str, Any] = {"width": [8], "lr": [0.01], "rules": ["mup"], "seeds": 1, "steps": 3}
    with pytest.raises(MutransferError, match=reason):
        mt.sweep(study(**grid), tmp_path / "runs", tracker=tracker)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(MutransferError, match=reason):
        track(tracker, [], NAMES)


def test_a_tracker_that_fails_loses_no_run(tmp_path: Path) -> None:
    class Broken(Recorder):
        def finish(self, summary: Mapping[str, Any]) -> None:
            raise ConnectionError("no network")

    wanted = study(width=[8], lr=[0.01], rules=["mup"], seeds=2, steps=3)
    with pytest.raises(ConnectionError):
        mt.sweep(wanted, tmp_path, tracker=Broken())
    assert len(on_disk(tmp_path)) == 2
    assert len(mt.sweep(wanted, tmp_path, tracker=Recorder()).rows) == 2


def test_a_curve_ends_where_its_run_did(tmp_path: Path) -> None:
    runs = swept(tmp_path, lr=[2.0**60], optimizer="sgd", seeds=1, steps=40)
    (row,) = runs.rows
    recorder = Recorder()
    track(recorder, runs.rows, NAMES)
    _, _, logged, summary = recorder.runs[0]
    assert row["status"] == "diverged" and 0 < row["diverged_at"] < 5
    assert [step for step, _ in logged] == list(range(1, row["diverged_at"] + 1))
    assert "loss" not in summary and summary["status"] == "diverged"


def test_reported_steps_are_those_of_the_training_function(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in range(5):
            trial.report(100 * step, 2.0, accuracy=0.5)
        if trial.seed:
            raise RuntimeError("lost")

    runs, recorder = swept(tmp_path, train=train, steps=1000), Recorder()
    track(recorder, runs.rows, NAMES)
    assert [[step for step, _ in run[2]] for run in recorder.runs] == [[0, 100, 200, 300, 400]] * 2
    assert recorder.runs[0][3]["accuracy"] == 0.5
    assert recorder.runs[1][3]["message"] == "RuntimeError: lost"


class StandIn(ModuleType):
    """A module with the three calls of wandb and trackio."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def init(self, **settings: Any) -> "StandIn":
        self.calls.append(("init", settings))
        return self

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.calls.append(("log", values | {"step": step}))

    def finish(self) -> None:
        self.calls.append(("finish", {}))


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_packages_with_three_calls(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = StandIn(package)
    monkeypatch.setitem(sys.modules, package, module)
    runs = swept(tmp_path, steps=2)
    named = {} if package == "wandb" else {"package": package}
    track(Wandb(project="sweep", mode="offline", **named), runs.rows, NAMES)
    assert [name for name, _ in module.calls] == ["init", "log", "log", "log", "finish"] * 2
    first, *logs = [values for _, values in module.calls[:4]]
    row = runs.rows[0]
    assert first["project"] == "sweep" and first["mode"] == "offline" and first["name"] == row["id"]
    assert first["config"]["lr"] == 0.01 and first["config"]["width"] == 8
    assert [(values["loss"], values["step"]) for values in logs[:2]] == [
        (row["curve"][0], 1),
        (row["curve"][1], 2),
    ]
    assert logs[2]["final"] == row["final"] and "status" not in logs[2]


WRITERS: list["Writer"] = []


class Writer:
    """A stand-in for SummaryWriter."""

    def __init__(self, folder: str) -> None:
        self.folder, self.scalars, self.closed = folder, [], False  # type: ignore[var-annotated]
        WRITERS.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_hparams(self, config: Any, numbers: Any, run_name: str) -> None:
        assert all(isinstance(v, int | float | str | bool) for v in config.values())
        self.config, self.numbers = config, numbers

    def close(self) -> None:
        self.closed = True


def test_tensorboard_has_a_folder_for_each_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    WRITERS.clear()
    runs = swept(tmp_path / "a", steps=2)
    track(TensorBoard(tmp_path / "events"), runs.rows, NAMES)
    folders = [str(tmp_path / "events" / row["id"]) for row in runs.rows]
    assert [writer.folder for writer in WRITERS] == folders
    for writer, row in zip(WRITERS, runs.rows, strict=True):
        assert writer.closed and writer.config["lr"] == 0.01
        assert writer.scalars == [("loss", loss, n + 1) for n, loss in enumerate(row["curve"])]
        assert writer.numbers["loss"] == row["loss"]


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_writes_events(tmp_path: Path) -> None:
    runs = swept(tmp_path / "a", steps=2)
    track(TensorBoard(tmp_path / "events"), runs.rows, NAMES)
    assert len(list((tmp_path / "events").glob("*/events*"))) >= 2


@pytest.mark.parametrize(
    ("make", "package", "module"),
    [
        (lambda: Wandb(project="a"), "wandb", "wandb"),
        (lambda: Wandb(package="trackio"), "trackio", "trackio"),
        (lambda: TensorBoard("a"), "tensorboard", "torch.utils.tensorboard"),
    ],
)
def test_a_tracker_that_is_not_installed_says_how(
    make: Any, package: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MutransferError) as refusal:
        make()
    assert str(refusal.value) == f"this tracker needs {package}: pip install {package}"


def test_a_metric_named_as_a_curve_is_one_number(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report(0, 1.0, roc_curve=0.5)

    recorder = Recorder()
    mt.sweep(
        study(width=[8], lr=[0.1], seeds=1, rules=["sp"], train=train), tmp_path, tracker=recorder
    )
    ((_, _, logged, summary),) = recorder.runs
    assert logged == [(0, {"loss": 1.0})] and summary["roc_curve"] == 0.5
