"""Signs of life: what coordinator and workers tell each other by small files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.studies import _live as live
from mutransfer.studies import _signs as signs
from mutransfer.studies._live import Beat, Live
from tests.studies.processes import LIGHT

WORKER = (
    LIGHT
    + """
live = importlib.import_module("mutransfer.studies._live")
live.ORPHANED, live._SEEK = 2.0, 0.5
with live.Beat(Path(sys.argv[2]), "job", json.loads(sys.argv[3])) as beat:
    print("at work", flush=True)
    while not beat.is_stopped:
        time.sleep(0.05)
        beat.count(5)
"""
)
COORDINATOR = (
    LIGHT
    + """
live = importlib.import_module("mutransfer.studies._live")
with live.Live(Path(sys.argv[2])) as coordinator:
    print(coordinator.sweep, flush=True)
    time.sleep(60)
"""
)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program in a process of its own."""
    started = []

    def begin(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(live.__file__), *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def worker(start: Start, folder: Path, **about: Any) -> subprocess.Popen[str]:
    process = start(WORKER, folder, json.dumps(about))
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    return process


def until(is_so: Callable[[], Any], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "live" / "coordinator.json").read_text())


def test_a_coordinator_says_how_it_stands(tmp_path: Path) -> None:
    with Live(tmp_path) as mine:
        mine.update(engine="processes", workers=2, what="width 64", done=12.5, total=60.0)
        until(lambda: said(tmp_path)["beat"] > 2)
        text = said(tmp_path)
        assert text["pid"] == os.getpid() and text["state"] == "running"
        assert (text["engine"], text["done"], text["total"]) == ("processes", 12.5, 60.0)
        assert text["sweep"] == mine.sweep and text["seconds"] > 0.5
    assert said(tmp_path)["state"] == "finished"


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (KeyboardInterrupt(), "interrupted", ""),
        (MutransferError("no"), "failed", "no"),
        (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
    ],
)
def test_the_end_of_a_coordinator_is_told(
    tmp_path: Path, error: BaseException, state: str, message: str
) -> None:
    with pytest.raises(type(error)), Live(tmp_path):
        raise error
    assert (said(tmp_path)["state"], said(tmp_path)["message"]) == (state, message)


def test_what_is_left_of_an_earlier_sweep_is_removed(tmp_path: Path) -> None:
    with Live(tmp_path) as first:
        first.ask_to_stop()
        (tmp_path / "live" / "jobs" / "old.json").write_text("{}")
        (tmp_path / "live" / "coordinator.json.99").write_text("{")
    with Live(tmp_path):
        names = {path.name for path in (tmp_path / "live").rglob("*")}
    assert names == {"coordinator.json", "jobs"}


def test_a_worker_is_seen_at_work_and_stops_when_asked(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as mine:
        process = worker(start, mine.folder, sweep=mine.sweep, size="width 64", runs=3, steps=900)
        until(lambda: "job" in mine.beats() and mine.beats()["job"].pace)
        first = mine.beats()["job"]
        assert first.pid == process.pid and 10 < (first.pace or 0) < 110
        assert first.about == {"size": "width 64", "runs": 3, "steps": 900}
        until(lambda: mine.beats()["job"].alive > first.alive)
        assert mine.beats()["job"].steps > first.steps
        mine.ask_to_stop()
        assert process.wait(timeout=15) == 0
        assert mine.beats() == {}


def test_a_suspended_worker_gives_no_sign(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as mine:
        process = worker(start, mine.folder, sweep=mine.sweep)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        first = mine.beats()["job"]
        time.sleep(2.5)
        assert mine.beats()["job"] == first
        process.send_signal(signal.SIGCONT)
        until(lambda: mine.beats()["job"].alive > first.alive)


def test_a_worker_whose_coordinator_died_ends(tmp_path: Path, start: Start) -> None:
    coordinator = start(COORDINATOR, tmp_path)
    assert coordinator.stdout is not None
    sweep = coordinator.stdout.readline().strip()
    process = worker(start, tmp_path / "live", sweep=sweep)
    time.sleep(3.5)
    assert process.poll() is None
    coordinator.kill()
    assert process.wait(timeout=15) == 1
    assert (
        process.stderr is not None and "the sweep that asked for job job" in process.stderr.read()
    )
    assert signs.beats(tmp_path) == {}


def test_a_worker_that_was_suspended_is_no_orphan(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as mine:
        process = worker(start, mine.folder, sweep=mine.sweep)
        until(lambda: mine.beats()["job"].alive > 2)
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        assert process.poll() is None


def test_a_worker_ends_when_another_sweep_has_begun(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as first:
        process = worker(start, first.folder, sweep=first.sweep)
        until(lambda: first.beats()["job"].alive > 2)
    with Live(tmp_path):
        assert process.wait(timeout=15) == 1


@pytest.mark.parametrize("later", [1, 3])
def test_a_job_that_begins_after_its_sweep_was_killed_ends(
    tmp_path: Path, start: Start, later: int
) -> None:
    """As one that waited in Slurm's queue, while the sweep was started again once or more."""
    with Live(tmp_path) as first:
        pass
    for _ in range(later):
        with Live(tmp_path):
            pass
    process = start(WORKER, first.folder, json.dumps({"sweep": first.sweep}))
    assert process.wait(timeout=30) == 1


def test_a_worker_is_not_misled_by_an_old_folder(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as old:
        old.ask_to_stop()
    # Another machine, which shares no files, and has a record of this name from some day.
    process = worker(start, old.folder, sweep="mine")
    time.sleep(3.5)
    assert process.poll() is None


def test_a_worker_elsewhere_does_nothing(tmp_path: Path) -> None:
    with Beat(tmp_path / "live", "job", {}) as beat:
        beat.count(3)
        assert not beat.is_stopped
    assert not list(tmp_path.iterdir())


def test_a_coordinator_that_trains_is_never_its_own_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ORPHANED", 0.5)
    monkeypatch.setattr(live, "_SEEK", 0.5)
    monkeypatch.setattr(live, "BEAT", 60.0)
    with Live(tmp_path) as mine, Beat(mine.folder, "job", {"sweep": mine.sweep}):
        time.sleep(3)


def test_signs_of_life_survive_a_clock_that_jumps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    with Live(tmp_path) as mine, Beat(mine.folder, "job", {}):
        until(lambda: mine.beats()["job"].alive > 2)
        assert signs.is_beating(tmp_path)
    assert not signs.is_beating(tmp_path)


def test_a_full_disk_stops_neither_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Live(tmp_path) as mine:
        path = mine.folder / "coordinator.json"
        before = path.read_text(), path.stat().st_mtime_ns
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            with Beat(mine.folder, "job", {}) as beat:
                beat.count(1)
                # The time of change is a sign of life that needs no space.
                until(lambda: path.stat().st_mtime_ns != before[1])
            assert path.read_text() == before[0]
        until(lambda: path.read_text() != before[0])


@pytest.mark.parametrize("name", ["live", "live/jobs", "live/coordinator.json"])
def test_files_in_the_way_stop_neither_side(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith("json"):
        path.mkdir()
    else:
        path.write_text("")
    with Live(tmp_path) as mine, Beat(mine.folder, "job", {}):
        mine.update(done=object())
        mine.ask_to_stop()
        time.sleep(1.2)
        assert mine.beats().keys() <= {"job"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"job": 1}', '{"job": "a", "host": 1, "x": 2}'])
def test_a_damaged_sign_of_life_is_passed_over(tmp_path: Path, text: str) -> None:
    with Live(tmp_path) as mine, Beat(mine.folder, "a/job", {}):
        (mine.folder / "jobs" / "b.json").write_text(text)
        assert set(mine.beats()) == {"a/job"}


def test_the_sign_of_a_lost_worker_is_forgotten(tmp_path: Path, start: Start) -> None:
    with Live(tmp_path) as mine:
        process = worker(start, mine.folder, sweep=mine.sweep)
        process.kill()
        process.wait()
        assert set(mine.beats()) == {"job"}
        mine.forget("job")
        mine.forget("job")
        assert mine.beats() == {}


def test_pace_is_of_late_and_sinks_when_nothing_is_counted() -> None:
    pace = live._Pace()
    assert pace.value(0.0) is None
    for second in range(100):
        pace.add(float(second), 10 * second if second < 50 else 500 + (second - 50))
    assert pace.value(99.0) == pytest.approx(1.0)
    assert pace.value(100.5) == pytest.approx(1.0)
    assert (pace.value(199.0) or 0) < 0.25
