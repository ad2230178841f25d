"""Ctrl-C: what is through is kept, and the same sweep goes on."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mutransfer import Runs, Study, sweep
from mutransfer.core import Progress
from mutransfer.studies import (
    _meter,
    _ways,
)
from tests.studies.small_study import double, on_disk, short, untimed

LONG: dict[str, Any] = {"width": [8, 16, 32], "steps": 200}


def by_id(runs: Runs) -> list[dict[str, Any]]:
    """Rows without their time, by id: several workers finish in any order."""
    return sorted(untimed(runs), key=lambda row: str(row["id"]))


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "_PAUSE", 0.0)


@pytest.fixture(autouse=True)
def ctrl_c_is_python_s() -> Iterator[None]:
    """A process in the background of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(study: Study, folder: Path, after: int, *, times: int = 1, **how: Any) -> int:
    """Interrupt a sweep after some reports of progress; return the rows that are on disk."""
    count = 0

    def report(progress: Progress) -> None:
        nonlocal count
        count += not progress.note
        if count == after and not progress.note:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep(study, folder, progress=report, **how)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return len(on_disk(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of a sweep that nothing interrupts."""
    return by_id(sweep(short(**LONG), tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("engine", ["here", "processes"])
def test_what_is_through_is_kept_on_ctrl_c(
    tmp_path: Path, engine: str, times: int, whole: list[dict[str, Any]]
) -> None:
    study = short(**LONG)
    kept = interrupted(study, tmp_path / "cut", 3, times=times, engine=engine)
    assert kept < 36
    resumed = sweep(study, tmp_path / "cut", engine=engine)
    assert len(on_disk(tmp_path / "cut")) == 36
    assert by_id(resumed) == whole


def test_members_that_are_through_are_kept_on_ctrl_c(tmp_path: Path) -> None:
    """Of a loop over members, those before the interrupted one."""

    class Branching(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner = double(width, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) if float(x.sum()) < 1e9 else x

    study = short(build=lambda width, depth: Branching(width), width=[8], depth=[2], steps=30)
    seen = list[Progress]()

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.total and progress.done > 0.3 * progress.total and not progress.note:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="one by one"), pytest.raises(KeyboardInterrupt):
        sweep(study, tmp_path, progress=report)
    kept = on_disk(tmp_path)
    assert 0 < len(kept) < 12 and {row["status"] for row in kept} == {"finished"}
    assert any("Ctrl-C once more" in each.note for each in seen)


def test_threads_and_handlers_of_ones_own_keep_their_ctrl_c(tmp_path: Path) -> None:
    found = list[Runs]()
    thread = threading.Thread(target=lambda: found.append(sweep(short(), tmp_path)))
    thread.start()
    thread.join(60)
    assert len(found[0].rows) == 24
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sweep(short(width=[8]), tmp_path / "ignored")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("code", [None, 1])
def test_a_loop_that_catches_ctrl_c_is_not_through(
    tmp_path: Path, times: int, code: int | None
) -> None:
    """Lightning saves its state on Ctrl-C and exits with 1; other loops return."""
    interrupting = [True]

    def train(trial: Any) -> None:
        try:
            for step in range(20):
                if step == 5 and interrupting and trial.size["width"] == 16:
                    for _ in range(times):
                        os.kill(os.getpid(), signal.SIGINT)
                trial.report(step, 3.0 - trial.lr * step)
        except KeyboardInterrupt:
            if code is not None:
                raise SystemExit(code) from None

    study = Study(double, width=[8, 16], depth=[2], lr=[0.1], seeds=1, steps=20, train=train)
    with pytest.raises(KeyboardInterrupt):
        sweep(study, tmp_path)
    assert [(row["width"], row["status"]) for row in on_disk(tmp_path)] == [(8, "finished")]
    interrupting.clear()
    first, second = sweep(study, tmp_path).rows
    assert first["loss"] == second["loss"]


def test_ctrl_c_ends_between_two_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them may compile for a minute."""
    measured = list[int]()

    def choice(models: Any, runs: Any, *_: Any) -> Any:
        measured.append(runs[0].size["width"])
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("not measured")

    monkeypatch.setattr(_ways, "_FEW", 0)
    monkeypatch.setattr(_ways, "choice", choice)
    with pytest.raises(KeyboardInterrupt):
        sweep(short(width=[8, 16, 32]), tmp_path)
    assert measured == [8] and on_disk(tmp_path) == []
