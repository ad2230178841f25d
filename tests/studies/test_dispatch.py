"""Dispatch: what is lost is trained again, what fails is recorded."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mutransfer import Runs, Study, command, sweep
from mutransfer.core import Progress
from mutransfer.studies import (
    FailedRunsWarning,
    Run,
    _chunks,
    _coordinator,
    _dispatch,
    _meter,
)
from mutransfer.studies._way import Way
from mutransfer.training import Program, _stacked
from tests.studies.small_study import double, on_disk, short, untimed


def by_id(runs: Runs) -> list[dict[str, Any]]:
    """Rows without their time, by id: several workers finish in any order."""
    return sorted(untimed(runs), key=lambda row: str(row["id"]))


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "_PAUSE", 0.0)


class Losing:
    """An engine in this process that loses workers.

    Attributes:
        lost: Says by the number of a job and its runs if its worker is lost.
        sizes: Runs of every job.
    """

    def __init__(self, lost: Callable[[int, int], bool]) -> None:
        self.lost, self.sizes = lost, list[int]()

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        runs = len(arguments[-1].runs) if hasattr(arguments[-1], "runs") else 0
        if not runs:
            future.set_result(function(*arguments))
            return future
        self.sizes.append(runs)
        if self.lost(len(self.sizes), runs):
            future.set_exception(ConnectionError("the node is gone"))
        else:
            future.set_result(function(*arguments))
        return future


def test_a_lost_job_is_given_to_another_worker(tmp_path: Path) -> None:
    engine, seen = Losing(lambda number, _: number <= 3), list[Progress]()
    runs = sweep(short(), tmp_path / "lost", engine=engine, progress=seen.append)
    assert by_id(runs) == by_id(sweep(short(), tmp_path / "whole"))
    notes = [each.note for each in seen if "lost" in each.note]
    assert len(notes) == 3 and all("the node is gone" in note for note in notes)
    assert len(on_disk(tmp_path / "lost")) == 24


def test_a_job_that_loses_every_worker_is_halved(tmp_path: Path) -> None:
    engine = Losing(lambda _, runs: runs > 4)
    runs = sweep(short(width=[8]), tmp_path / "halved", engine=engine)
    whole = {row["id"]: row for row in sweep(short(width=[8]), tmp_path / "whole").rows}
    assert {row["id"] for row in runs.rows} == whole.keys()
    for row in runs.rows:
        assert row["loss"] == pytest.approx(whole[row["id"]]["loss"], rel=1e-12)
    assert engine.sizes == [12, 12, 12, 12, 6, 3, 3, 6, 3, 3]


def test_halves_of_a_compiled_job_have_half_of_its_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All slots take memory, whether or not there are runs for them."""
    slots = list[tuple[int, int]]()
    way = Way(program=Program(slots=12, compiled=True), reason="as told")
    monkeypatch.setattr(_coordinator.Coordinator, "_ways", lambda _, left: [way for _ in left])
    monkeypatch.setattr(_stacked.Stack, "compile", lambda _: None)

    class Watching(Losing):
        def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
            job = arguments[-1]
            slots.append((len(job.runs), job.program.slots))
            return super().submit(function, *arguments)

    runs = sweep(short(width=[8]), tmp_path, engine=Watching(lambda _, runs: runs > 4))
    assert len(runs.rows) == 12
    assert slots == [*[(12, 12)] * 4, (6, 6), (3, 3), (3, 3), (6, 6), (3, 3), (3, 3)]


def test_a_run_that_loses_every_worker_has_failed(tmp_path: Path) -> None:
    engine = Losing(lambda *_: True)
    with pytest.warns(FailedRunsWarning, match="its worker was lost 4 times"):
        runs = sweep(short(width=[8], seeds=1, rules=["sp"]), tmp_path, engine=engine)
    assert Counter(row["status"] for row in runs.rows) == {"failed": 3}
    assert all("ConnectionError: the node is gone" in row["message"] for row in runs.rows)


def test_jobs_that_only_wait_are_not_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    """The head of a cluster is lost again and again, with all that is in its queue."""
    monkeypatch.setattr(_dispatch, "_LOOK", 0.0)

    class Restarting(ThreadPoolExecutor):
        """One job shows a sign of life; others are lost with it, six times."""

        jobs = 0
        name, workers, shortest = "restarting", None, 0.0

        def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Any:
            job = arguments[-1]
            self.jobs += 1
            beat = {"job": job.name, "alive": 1, "steps": 0, "host": "far", "pid": 7}
            path = job.live / "jobs" / f"{job.name}.json"
            if self.jobs == 1:
                path.write_text(json.dumps(beat))
            if self.jobs > 6 * 6:
                return super().submit(function, *arguments, **more)
            future: Future[Any] = Future()
            late = threading.Timer(0.2, future.set_exception, (ConnectionError("no head"),))
            late.start()
            return future

    study = short(width=[8], seeds=1, steps=2)
    with Restarting(2) as engine:
        runs = sweep(replace(study, train=silent), tmp_path, engine=engine)
    assert Counter(row["status"] for row in runs.rows) == {"finished": 6}


def silent(trial: Any) -> None:
    """Train nothing."""
    trial.report(0, 1.0)


def test_a_job_without_enough_memory_is_halved(tmp_path: Path, monkeypatch: Any) -> None:
    tried = list[int]()
    inner = _stacked.Stack

    def stack(members: Any, *rest: Any) -> Any:
        tried.append(len(members))
        if len(members) > 4:
            raise MemoryError(f"{len(members)} members")
        return inner(members, *rest)

    monkeypatch.setattr(_stacked, "Stack", stack)
    seen = list[Progress]()
    runs = sweep(short(width=[8]), tmp_path, progress=seen.append)
    assert len(runs.rows) == 12 and {row["status"] for row in runs.rows} == {"finished"}
    assert tried.count(12) == 1 and tried[-1] == 3
    notes = [each.note for each in seen if "memory is too small" in each.note]
    assert notes and "width 8" in notes[0]


class Buggy:
    """A builder that fails at one width until it is mended."""

    def __init__(self) -> None:
        self.width, self.calls = 16, 0

    def __call__(self, width: int, depth: int) -> nn.Module:
        if width == self.width:
            self.calls += 1
            raise IndexError("list index out of range, deep inside")
        return double(width, depth)


def test_a_bug_of_the_builder_fails_once_and_stops_nothing_else(tmp_path: Path) -> None:
    build = Buggy()
    study = short(build=build, width=[8, 16, 32])
    with pytest.warns(
        FailedRunsWarning, match="12 of 36 runs failed, the first with: MutransferError: .*deep"
    ):
        runs = sweep(study, tmp_path)
    ends = Counter((row["width"], row["status"]) for row in runs.rows)
    assert ends == {(8, "finished"): 12, (16, "failed"): 12, (32, "finished"): 12}
    failed = [row for row in runs.rows if row["status"] == "failed"]
    assert all("list index out of range" in row["message"] for row in failed)
    assert all("in __call__" in row["traceback"] for row in failed)
    written = len(on_disk(tmp_path))
    with pytest.warns(FailedRunsWarning):
        sweep(study, tmp_path)
    assert len(on_disk(tmp_path)) == written == 36
    build.width = 0
    mended = sweep(study, tmp_path, retry="failed")
    assert {row["status"] for row in mended.rows} == {"finished"} and len(mended.rows) == 36
    assert by_id(mended) == by_id(sweep(study, tmp_path / "whole"))


def test_runs_that_cannot_be_built_leave_the_others_in_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of a search, whose judge knows runs by their number."""

    def build(width: int, depth: int) -> nn.Module:
        model = double(width, depth)
        if torch.initial_seed() == 1 and not next(model.parameters()).is_meta:
            raise IndexError("no model of seed 1")
        return model

    trained = list[int]()
    inner = _chunks.train

    def train(members: Any, *rest: Any, **how: Any) -> Any:
        trained.append(len(members))
        return inner(members, *rest, **how)

    monkeypatch.setattr(_chunks, "train", train)
    study = short(build=build, width=[8], steps=45)
    with pytest.warns(FailedRunsWarning, match="6 of 12 runs failed"):
        runs = sweep(study, tmp_path, search=All())
    assert trained == [6]
    assert Counter(row["status"] for row in runs.rows)["failed"] == 6


class All:
    """A search of all runs, whose hopeless ones are stopped."""

    metric = "mean"

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        return study.runs()


def test_a_run_that_fails_in_training_does_not_take_others_along(tmp_path: Path) -> None:
    class Poison(nn.Module):
        """Fails at one width after some steps, in a loop over members alone."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner, self.width, self.calls = double(width, 2), width, 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.width == 16 and float(x.detach().sum()) != 0.0 and x.requires_grad:
                raise RuntimeError("never")
            if self.width == 16 and self.training and x.shape[0] == 16:
                raise RuntimeError("a bug in the forward pass")
            return self.inner(x)

    study = short(build=lambda width, depth: Poison(width), depth=[2], width=[8, 16])
    with pytest.warns(FailedRunsWarning, match="a bug in the forward pass"):
        runs = sweep(study, tmp_path)
    ends = Counter((row["width"], row["status"]) for row in runs.rows)
    assert ends == {(8, "finished"): 12, (16, "failed"): 12}


def test_a_worker_without_a_sign_of_life_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_dispatch, "FROZEN", 0.5)

    class Freezing(ThreadPoolExecutor):
        """Its first job shows one sign of life, and no other."""

        jobs = 0
        name, workers, shortest = "freezing", 2, 0.0

        def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Any:
            job = arguments[-1]
            if hasattr(job, "runs"):
                self.jobs += 1
                if self.jobs == 1:
                    beat = {"job": job.name, "alive": 1, "steps": 3, "host": "far", "pid": 7}
                    (job.live / "jobs" / f"{job.name}.json").write_text(json.dumps(beat))
                    return Future()
            return super().submit(function, *arguments, **more)

    seen = list[Progress]()
    with Freezing(2) as engine:
        runs = sweep(short(), tmp_path / "frozen", engine=engine, progress=seen.append)
    assert any("far:7 gave no sign of life" in each.note for each in seen)
    assert by_id(runs) == by_id(sweep(short(), tmp_path / "whole"))


def test_jobs_in_threads_draw_as_those_of_processes(tmp_path: Path) -> None:
    """Threads share torch's generator."""

    def build(width: int, depth: int) -> nn.Module:
        model = double(width, depth)
        time.sleep(0.01)
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        return model

    study = short(build=build, width=[8, 16, 32], seeds=1)
    with ThreadPoolExecutor(3) as engine:
        runs = sweep(study, tmp_path / "threads", engine=engine)
    assert by_id(runs) == by_id(sweep(study, tmp_path / "alone"))


def test_commands_run_side_by_side_in_threads(tmp_path: Path) -> None:
    """Each waits for the other one to begin."""
    script = tmp_path / "train.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "(here / f'begun-{sys.argv[2]}').touch()\n"
        "end = time.monotonic() + 30\n"
        "while len(list(here.glob('begun-*'))) < 2 and time.monotonic() < end:\n"
        "    time.sleep(0.02)\n"
        "print('{\"step\": 0, \"loss\": %d}' % len(list(here.glob('begun-*'))))\n"
    )
    train = command(f"{{python}} {script} {tmp_path} {{seed}} --lr {{lr}} --width {{width}}")
    study = Study(None, width=[8], lr=[0.1], seeds=2, steps=1, train=train)
    with ThreadPoolExecutor(2) as engine:
        runs = sweep(study, tmp_path / "record", engine=engine)
    assert [row["loss"] for row in runs.rows] == [2.0, 2.0]


def test_own_training_functions_run_side_by_side(tmp_path: Path) -> None:
    def train(trial: Any) -> None:
        time.sleep(0.05)
        trial.report(0, 1.0)
        trial.report(1, abs(trial.lr - 2**-5) + 0.1 * trial.seed)

    study = Study(double, width=[8], depth=[2], lr=[2**-6, 2**-5], seeds=2, steps=2, train=train)
    with ThreadPoolExecutor(2) as engine:
        runs = sweep(study, tmp_path / "side", engine=engine)
    assert by_id(runs) == by_id(sweep(study, tmp_path / "alone"))


def test_an_own_training_function_keeps_its_traceback(tmp_path: Path) -> None:
    def train(trial: Any) -> None:
        raise ZeroDivisionError("in the user's loop")

    study = Study(double, width=[8], depth=[2], lr=[0.1], seeds=1, steps=2, train=train)
    with pytest.warns(FailedRunsWarning, match="ZeroDivisionError: in the user's loop"):
        (row,) = sweep(study, tmp_path).rows
    assert "in train" in row["traceback"]


def test_progress_counts_all_batches_of_a_search(tmp_path: Path) -> None:
    """Time left is elapsed / done times the rest: a search that began anew would seem slow."""

    class Rates(All):
        def propose(self, study: Study, runs: Runs) -> list[Run]:
            rates = sorted({run.lr for run in study.runs()})[len({r["lr"] for r in runs.rows}) :]
            return [run for run in study.runs() if run.lr in rates[:1]]

    seen = list[Progress]()
    sweep(short(width=[8]), tmp_path, search=Rates(), progress=seen.append)
    first = {len(each.result.rows): each.done for each in reversed(seen) if not each.note}
    assert [*first] == [12, 8, 4, 0]
    assert first[12] == pytest.approx(3 * first[4]) and seen[-1].total == seen[-1].done


def test_progress_counts_halves_of_a_job_for_the_whole(tmp_path: Path) -> None:
    seen = list[Progress]()
    engine = Losing(lambda _, runs: runs > 4)
    sweep(short(width=[8]), tmp_path, engine=engine, progress=seen.append)
    totals = {round(each.total, 9) for each in seen if not each.note}
    assert len(totals) == 1 and totals == {round(seen[-1].done, 9)}


@pytest.mark.parametrize("own", [False, True])
def test_a_progress_callback_that_fails_fails_no_run(tmp_path: Path, own: bool) -> None:
    """As one that prints into a pipe that is closed."""

    def train(trial: Any) -> None:
        for step in range(6):
            trial.report(step, 3.0 - trial.lr * step)

    count = 0

    def report(progress: Progress) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise BrokenPipeError("nobody reads")

    study = short(width=[8], train=train if own else None)
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        sweep(study, tmp_path, progress=report)
    assert on_disk(tmp_path) == []
    assert {row["status"] for row in sweep(study, tmp_path).rows} == {"finished"}


def test_a_bad_retry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="retry='all': give 'failed', or nothing"):
        sweep(short(), tmp_path, retry="all")
