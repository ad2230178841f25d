"""Processes: what a killed or stopped worker, and a killed parent, cost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mutransfer.core import MutransferError
from mutransfer.engines import Processes, Resources, _processes
from tests.engines.jobs import (
    announced,
    announcement,
    die,
    double,
    eventually,
    fail,
    is_alive,
    leave,
    process_id,
    value,
)

ROOT = Path(__file__).parents[2]
ANY = Resources()
LOST = r"a worker process was ended from outside \(signal 9\)"


@pytest.fixture
def two() -> Iterator[Processes]:
    """Two processes."""
    processes = Processes(2)
    yield processes
    processes.close(at_once=True)
    _processes._shelf().clear()


def test_jobs_run_side_by_side_and_workers_are_kept(two: Processes, tmp_path: Path) -> None:
    jobs = [two.submit(ANY, announced, tmp_path / name, 0.5) for name in "ab"]
    workers = {value(job) for job in jobs}
    assert len(workers) == 2 and os.getpid() not in workers
    two.close()
    # Another sweep of this process uses them, the last used first.
    assert value(Processes(1).submit(ANY, process_id)) in workers
    assert {value(two.submit(ANY, process_id)) for _ in range(4)} <= workers


def test_more_jobs_than_workers_wait(two: Processes) -> None:
    assert [value(two.submit(ANY, double, n)) for n in range(9)] == [2 * n for n in range(9)]


def test_functions_and_classes_travel_by_value(two: Processes) -> None:
    class Pair:
        def __init__(self, number: int) -> None:
            self.number = number

    number = 20
    job = two.submit(ANY, lambda pair: Pair(pair.number + number), Pair(1))
    assert value(job).number == 21


def test_a_worker_has_one_thread_no_input_and_this_folder(
    two: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def about() -> tuple[Any, ...]:
        print("said by a job")
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        return [os.environ[name] for name in names], sys.stdin.read(), os.getcwd(), sys.path[0]

    value(two.submit(ANY, double, 1))
    # After the worker has begun.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modules").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "modules"), *sys.path])
    assert value(two.submit(ANY, about)) == (
        ["1", "1"],
        "",
        str(tmp_path),
        str(tmp_path / "modules"),
    )
    output = capfd.readouterr()
    assert output.out == "" and "said by a job" in output.err


def test_failures_come_with_their_traceback(two: Processes) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        value(two.submit(ANY, fail, "mine"))
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(MutransferError, match=r"a job was ended \(SystemExit: 3\)"):
        value(two.submit(ANY, leave))


def test_exceptions_that_cannot_be_sent_arrive_in_words(two: Processes) -> None:
    class Awkward(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def awkward() -> None:
        raise Awkward(1, 2)

    def unsendable() -> Any:
        return (each for each in range(3))

    with pytest.raises(RuntimeError, match="Awkward: 1 and 2"):
        value(two.submit(ANY, awkward))
    with pytest.raises(TypeError, match="cannot pickle 'generator'"):
        value(two.submit(ANY, unsendable))
    with pytest.raises(MutransferError, match=r"a job cannot be sent .*generator.*give functions"):
        two.submit(ANY, double, unsendable())
    assert value(two.submit(ANY, double, 1)) == 2


def test_a_killed_worker_costs_its_job_alone(two: Processes, tmp_path: Path) -> None:
    lost = two.submit(ANY, announced, tmp_path / "lost")
    other = two.submit(ANY, announced, tmp_path / "other", 1.0)
    pid = announcement(tmp_path / "lost")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(MutransferError, match=LOST):
        value(lost)
    assert value(other) == announcement(tmp_path / "other")
    assert value(two.submit(ANY, process_id)) != pid
    with pytest.raises(MutransferError, match=LOST):
        value(two.submit(ANY, die))
    assert value(two.submit(ANY, double, 4)) == 8


def test_workers_killed_while_they_have_no_job_are_replaced(two: Processes) -> None:
    pid = value(two.submit(ANY, process_id))
    eventually(lambda: _processes._shelf()._free)
    (worker,) = _processes._shelf()._free
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not worker.child.is_alive())
    assert value(two.submit(ANY, process_id)) != pid


def test_a_worker_killed_amid_a_large_result_is_lost(two: Processes, tmp_path: Path) -> None:
    """A result larger than a pipe holds is written in parts."""
    path = tmp_path / "job"

    def large() -> bytes:
        path.write_text(str(os.getpid()))
        return bytes(2**28)

    for number in range(5):
        path.unlink(missing_ok=True)
        job = two.submit(ANY, large)
        eventually(path.exists)
        time.sleep(0.05 * number)
        pid = int(path.read_text() or 0)
        if pid and not job.done():
            os.kill(pid, signal.SIGKILL)
        try:
            assert len(value(job)) == 2**28
        except MutransferError:
            assert not is_alive(pid)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_discarded_job_ends_with_its_worker(
    two: Processes, tmp_path: Path, stopped: bool
) -> None:
    hung = two.submit(ANY, announced, tmp_path / "hung")
    other = two.submit(ANY, announced, tmp_path / "other", 1.0)
    pid = announcement(tmp_path / "hung")
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    two.discard(hung)
    with pytest.raises(MutransferError, match=LOST):
        value(hung)
    assert not is_alive(pid)
    assert value(other) == announcement(tmp_path / "other")
    two.discard(other)
    assert value(two.submit(ANY, double, 1)) == 2


def test_closing_at_once_kills_what_runs_and_leaves_out_what_waits(
    two: Processes, tmp_path: Path
) -> None:
    running = [two.submit(ANY, announced, tmp_path / name) for name in "ab"]
    pids = [announcement(tmp_path / name) for name in "ab"]
    waiting = two.submit(ANY, announced, tmp_path / "never")
    two.close(at_once=True)
    assert all(job.done() for job in [*running, waiting])
    assert not any(is_alive(pid) for pid in pids) and not (tmp_path / "never").exists()
    assert value(two.submit(ANY, double, 1)) == 2


def test_idle_workers_end(two: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "IDLE", 0.3)
    pid = value(two.submit(ANY, process_id))
    eventually(lambda: not is_alive(pid))
    assert value(two.submit(ANY, process_id)) != pid


def test_ctrl_c_in_the_terminal_reaches_no_worker(two: Processes, tmp_path: Path) -> None:
    job = two.submit(ANY, announced, tmp_path / "job", 1.0)
    pid = announcement(tmp_path / "job")
    os.kill(pid, signal.SIGINT)
    assert value(job) == pid


PARENT = """
import sys, time
from pathlib import Path
from mutransfer.engines import Processes, Resources
from tests.engines.jobs import announced, double, eventually
processes, folder = Processes(2), Path(sys.argv[1])
idle = processes.submit(Resources(), announced, folder / "idle", 0.1)
busy = processes.submit(Resources(), announced, folder / "busy", 600.0)
idle.result(30)
eventually((folder / "busy").exists)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_no_worker_outlives_its_parent(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        pids = [announcement(tmp_path / name) for name in ("idle", "busy")]
        assert all(is_alive(pid) for pid in pids)
        if how == "killed":
            parent.kill()
        else:
            parent.stdin.close()
        parent.wait(20)
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid), 10)
        assert parent.stderr is not None and parent.stderr.read() == b""


def test_a_fork_leaves_the_workers_of_its_parent_alone(two: Processes) -> None:
    pid = value(two.submit(ANY, process_id))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            own = value(Processes(1).submit(ANY, process_id))
            os.write(write, str(own).encode())
            _processes._leave()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 100)) != pid
    os.close(read)
    os.close(write)
    assert value(two.submit(ANY, process_id)) == pid
