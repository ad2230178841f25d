"""The state of a sweep, seen from another process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mutransfer import MutransferError
from mutransfer.studies import Status, Store, status
from mutransfer.studies import _lock as lock
from mutransfer.studies import _signs as signs
from mutransfer.studies import _status as module
from mutransfer.studies._live import Beat, Live
from mutransfer.studies._status_result import duration
from tests.studies.processes import LIGHT

COORDINATOR = (
    LIGHT
    + """
live = importlib.import_module("mutransfer.studies._live")
locked = importlib.import_module("mutransfer.studies._lock").locked
sys.argv = ["/usr/bin/mutransfer", "sweep", "a b.py:study", "--out", sys.argv[2]]
with locked(Path(sys.argv[-1])), live.Live(Path(sys.argv[-1])) as coordinator:
    coordinator.update(engine="processes", workers=2, what="width 16", done=30.0, total=120.0)
    time.sleep(1.5)
    print("at work", flush=True)
    sys.stdin.readline()
"""
)

SIZES = {"r0": "width 8", "r1": "width 8", "r2": "width 8", "r3": "width 16", "r4": "width 16"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five runs of two sizes, three of them done."""
    new = Store(tmp_path / "my runs")
    new.open({"task": "digits"}, {}, design={"axes": ["width"], "runs": []})
    new.add(SIZES)
    new.append([row("r0", 8), row("r1", 8, "diverged"), row("r3", 16)])
    return new


def row(name: str, width: int, end: str = "finished", **fields: Any) -> dict[str, Any]:
    return {"id": name, "rule": "mup", "width": width, "status": end, "loss": 1.0, **fields}


Start = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a coordinator in a process of its own."""
    started = []

    def begin(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COORDINATOR, str(module.__file__), str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def lines(found: Status) -> list[str]:
    return [" ".join(line.split()) for line in str(found).splitlines()]


def test_a_record_without_a_sweep_says_what_is_left(store: Store) -> None:
    found = status(store.folder)
    assert found.state == "idle" and found.coordinator is None and not found.is_running
    assert (found.total.runs, found.total.done, found.total.left) == (5, 3, 2)
    shown = lines(found)
    assert shown[0].endswith("my runs: no sweep is at work")
    assert "3 of 5 runs are done" in shown
    assert shown[3:7] == [
        "size runs finished diverged left",
        "width 8 3 1 1 1",
        "width 16 2 1 0 1",
        "all 5 2 1 2",
    ]
    assert shown[-1] == "to go on, with what is done kept, start the same sweep again"


def test_a_living_sweep_is_seen_with_the_time_that_is_left(store: Store, start: Start) -> None:
    process = start(store.folder)
    found = status(store.folder)
    assert found.state == "running" and found.is_running and found.coordinator is not None
    who = found.coordinator
    assert (who.pid, who.engine, who.workers, who.what) == (process.pid, "processes", 2, "width 16")
    assert who.share == 0.25 and who.left is not None and 3 < who.left < 15
    text = str(found)
    assert "a sweep is at work" in text and "25% of the work; about " in text
    assert f"process {process.pid} on {who.host}, engine processes (2), since 20" in text


def test_a_killed_sweep_says_so_and_how_to_go_on(store: Store, start: Start) -> None:
    process = start(store.folder)
    process.kill()
    process.wait()
    begun = time.monotonic()
    found = status(store.folder)
    # A free lock is proof: nobody listens for a sign of life.
    assert time.monotonic() - begun < 1
    assert found.state == "killed" and found.workers == ()
    shown = lines(found)
    assert shown[0].endswith("the sweep was killed, or its machine went down")
    assert shown[-1] == f"mutransfer sweep 'a b.py:study' --out '{store.folder}'"


def test_the_command_is_given_where_it_was(
    store: Store, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(store.folder)
    process.kill()
    process.wait()
    here = Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert lines(status("my runs"))[-1].startswith(f"cd {here} && mutransfer sweep")


def test_a_suspended_sweep_holds_the_record(store: Store, start: Start) -> None:
    start(store.folder).send_signal(signal.SIGSTOP)
    found = status(store.folder)
    assert found.state == "silent" and found.is_running
    assert "it is suspended, or hangs" in str(found)


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (None, "finished", "the sweep has finished"),
        (KeyboardInterrupt(), "interrupted", "the sweep was interrupted"),
        (MutransferError("no space"), "failed", "error: no space"),
    ],
)
def test_the_end_of_a_sweep_is_told(
    store: Store, error: BaseException | None, state: str, said: str
) -> None:
    try:
        with store.lock(), Live(store.folder):
            if error is not None:
                raise error
    except (KeyboardInterrupt, MutransferError):
        pass
    found = status(store.folder)
    assert found.state == state and said in str(found)
    assert found.coordinator is not None and found.coordinator.pid == os.getpid()


def test_a_finished_record_names_what_comes_next(store: Store) -> None:
    with store.lock(), Live(store.folder):
        store.append([row("r2", 8), row("r4", 16)])
    last = str(status(store.folder)).splitlines()[-1]
    assert last == f"next: mutransfer transfer '{store.folder}', mutransfer report '{store.folder}'"


def test_failed_runs_are_shown_with_the_first_error(store: Store) -> None:
    trace = 'Traceback (most recent call last):\n  File "my.py", line 1\nKeyError: 3\n'
    chained = "\nThe above exception was the direct cause of the following exception:\n\nTrace"
    fields = {"message": "MutransferError: it fails\nmore", "traceback": trace + chained}
    store.append([row("r4", 16, "failed", **fields), row("r2", 8, "failed", message="other")])
    found = status(store.folder)
    assert found.failure == "MutransferError: it fails" and found.total.failed == 2
    shown = lines(found)
    at = shown.index("2 runs failed, the first with: MutransferError: it fails")
    assert shown[at + 2 : at + 5] == ['File "my.py", line 1', "KeyError: 3", ""]
    assert shown[-1] == "failed runs are trained again with --retry failed"


def test_slow_and_silent_workers_are_marked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lock(), Live(store.folder) as live:
        stop = threading.Event()
        rates = {"a": 100, "b": 90, "c": 10, "d": 20}
        with (
            Beat(live.folder, "a", about("width 8")) as a,
            Beat(live.folder, "b", about("width 8")) as b,
            Beat(live.folder, "c", about("width 8")) as c,
            Beat(live.folder, "d", about("width 16")) as d,
        ):
            beats = {"a": a, "b": b, "c": c, "d": d}
            write_dead(live.folder, "e")

            def train() -> None:
                while not stop.wait(0.1):
                    for name, beat in beats.items():
                        beat.count(rates[name])

            trainer = threading.Thread(target=train)
            trainer.start()
            while any(beat.pace is None for job, beat in live.beats().items() if job != "e"):
                time.sleep(0.1)
            found = status(store.folder)
            stop.set()
            trainer.join()
    assert found.state == "running"
    assert {worker.job for worker in found.workers if worker.slow} == {"c"}
    assert {worker.job for worker in found.workers if worker.silent} == {"e"}
    table = [line for line in lines(found) if line.startswith("process")][1:]
    assert table[2].endswith("slow") and table[4].endswith("no sign of life")
    assert f"process {os.getpid()} on" in table[0] and "width 8 3" in table[0]


def about(size: str) -> dict[str, Any]:
    return {"size": size, "runs": 3, "steps": 100_000}


def write_dead(live: Path, job: str) -> None:
    """Leave the sign of life of a worker that was killed."""
    data = {"job": job, "host": "far", "pid": 1, "alive": 3, "steps": 9, "pace": 10.0}
    (live / "jobs" / f"{job}.json").write_text(json.dumps(data | {"about": about("width 4")}))


def test_of_many_workers_those_in_trouble_are_listed(store: Store) -> None:
    with store.lock(), Live(store.folder) as live:
        for number in range(30):
            write_dead(live.folder, f"{number:02}")
        found = status(store.folder)
    assert len(found.workers) == 30
    assert "and 10 others" in str(found)


def test_a_sweep_that_is_about_to_make_its_record_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    with store.lock(), Live(store.folder):
        found = status(store.folder)
    assert found.state == "running" and found.total.runs == 0 and found.sizes == ()
    with pytest.raises(MutransferError, match="holds no sweep"):
        status(store.folder)


def test_another_sweep_than_that_of_the_last_signs_is_seen(store: Store, start: Start) -> None:
    process = start(store.folder)
    process.kill()
    process.wait()
    with store.lock():
        found = status(store.folder)
    assert found.state == "running" and found.coordinator is not None
    assert found.coordinator.pid == os.getpid()


class TestWithoutLocks:
    """A record on a file system whose locks do not work."""

    @pytest.fixture(autouse=True)
    def unlocked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lock, "fcntl", None)

    def test_a_sweep_is_seen_by_its_signs_of_life(self, store: Store, start: Start) -> None:
        process = start(store.folder)
        assert status(store.folder).state == "running"
        process.kill()
        process.wait()
        assert status(store.folder).state == "killed"


def test_a_search_may_ask_for_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open({"task": "digits"}, {}, design={"axes": ["width"], "runs": [], "search": "Refine"})
    store.add(SIZES)
    assert "0 of 5 runs are done; the search may ask for more" in str(status(tmp_path))
    assert "no sweep has begun" in str(status(tmp_path))


def test_sizes_of_an_older_record_are_those_of_its_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open({"task": "digits"}, {}, design={"axes": ["width"], "runs": list(SIZES)})
    store.append([row("r0", 8), row("r3", 16)])
    found = status(tmp_path)
    assert [(counts.size, counts.runs, counts.left) for counts in found.sizes] == [
        ("width 8", None, None),
        ("width 16", None, None),
    ]
    assert "2 of 5 runs are done" in str(found) and "left" not in lines(found)[3]


def test_runs_of_another_study_are_not_counted(store: Store) -> None:
    store.append([row("other", 8)])
    assert status(store.folder).total.done == 3


def test_sizes_are_counted_once_and_kept(store: Store) -> None:
    store.add({"r4": "width 16", "r5": "width 32"})
    again = Store(store.folder)
    again.open({"task": "digits"}, {}, design={"axes": ["width"], "runs": []})
    assert again.header()["sizes"] == {"width 8": 3, "width 16": 2, "width 32": 1}


def test_a_status_travels_as_json(store: Store) -> None:
    with store.lock(), Live(store.folder) as live:
        write_dead(live.folder, "e")
        live.update(done=1, total=3)
        found = status(store.folder)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["state"] == "running" and data["total"]["left"] == 2
    assert Status.from_json(data) == found == Status.from_json(json.dumps(data))
    with pytest.raises(MutransferError, match="this is not a status"):
        Status.from_json({"folder": "a"})


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"state": "running"},
        {"host": 1, "pid": "x", "state": 3, "done": "many", "seconds": None},
        {"host": "a", "pid": 1, "state": "finished", "started": "long ago", "workers": [1]},
    ],
)
def test_signs_of_any_kind_are_no_error(store: Store, said: dict[str, Any]) -> None:
    live = store.folder / signs.FOLDER
    live.mkdir()
    (live / signs.COORDINATOR).write_text(json.dumps(said))
    assert "3 of 5 runs are done" in str(status(store.folder))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.5, "90 s"), (90, "1.5 min"), (5399, "90 min"), (6000, "1.7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
