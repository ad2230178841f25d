"""One coordinator a record: a second is refused, and death releases the lock."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mutransfer import MutransferError
from mutransfer.studies import RecordWarning, Store
from mutransfer.studies import _live as live
from mutransfer.studies import _lock as lock
from tests.studies.processes import LIGHT

HOLD = (
    LIGHT
    + """
locked = importlib.import_module("mutransfer.studies._lock").locked
with locked(Path(sys.argv[2])):
    if sys.argv[3:] and os.fork():
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60 if len(sys.argv) < 4 else 3)
"""
)

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    """Start a process that holds the lock of a folder."""
    started = []

    def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(lock.__file__), str(folder), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_coordinator_is_refused_and_told_by_whom(tmp_path: Path, hold: Hold) -> None:
    holder = hold(tmp_path)
    name = f"process {holder.pid} on {re.escape(socket.gethostname())}, since 20..-..-..T"
    with pytest.raises(MutransferError, match=f"{name}.*mutransfer status"), Store(tmp_path).lock():
        pass
    assert lock.is_locked(tmp_path) is True
    assert holder.poll() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_releases_the_lock(tmp_path: Path, hold: Hold, number: int) -> None:
    holder = hold(tmp_path)
    holder.send_signal(number)
    holder.wait()
    assert lock.is_locked(tmp_path) is False
    with Store(tmp_path).lock():
        assert lock.is_locked(tmp_path) is True
    assert lock.is_locked(tmp_path) is False


def test_a_suspended_coordinator_keeps_its_lock(tmp_path: Path, hold: Hold) -> None:
    hold(tmp_path).send_signal(signal.SIGSTOP)
    with pytest.raises(MutransferError, match="at work on"), Store(tmp_path).lock():
        pass


def test_two_coordinators_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "record")
    with store.lock():
        with pytest.raises(MutransferError, match=f"process {os.getpid()} on"), store.lock():
            pass
        assert lock.is_locked(store.folder) is True
    with store.lock():
        pass


def test_an_error_inside_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Store(tmp_path).lock():
        raise KeyError
    assert lock.is_locked(tmp_path) is False


def test_a_forked_child_does_not_keep_the_lock_of_the_dead(tmp_path: Path, hold: Hold) -> None:
    holder = hold(tmp_path, "fork")
    assert lock.is_locked(tmp_path) is True
    holder.kill()
    holder.wait()
    # The child lives on for seconds.
    assert lock.is_locked(tmp_path) is False


def test_the_lock_is_released_while_a_child_is_being_forked(tmp_path: Path) -> None:
    with Store(tmp_path).lock():
        copies = [os.dup(descriptor) for descriptor in lock._descriptors]
    try:
        assert copies and lock.is_locked(tmp_path) is False
    finally:
        for copy in copies:
            os.close(copy)


def test_readers_look_without_leaving_a_trace(tmp_path: Path) -> None:
    assert lock.is_locked(tmp_path) is False
    assert not list(tmp_path.iterdir())


class TestWithoutLocks:
    """A file system whose locks do not work."""

    @pytest.fixture(autouse=True)
    def unlocked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(descriptor: int, operation: int) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(
            lock, "fcntl", SimpleNamespace(LOCK_EX=2, LOCK_NB=4, LOCK_SH=1, LOCK_UN=8, flock=flock)
        )

    def test_a_sweep_goes_on_with_a_warning(self, tmp_path: Path) -> None:
        warned = pytest.warns(RecordWarning, match="file system without locks")
        with warned, Store(tmp_path).lock():
            assert lock.is_locked(tmp_path) is None

    def test_a_coordinator_is_seen_by_its_signs_of_life(self, tmp_path: Path) -> None:
        with live.Live(tmp_path):
            start = time.monotonic()
            refused = pytest.raises(MutransferError, match=f"process {os.getpid()} on")
            with refused, Store(tmp_path).lock():
                pass
            assert time.monotonic() - start < 2.5
        with pytest.warns(RecordWarning), Store(tmp_path).lock():
            pass

    def test_a_dead_one_does_not_refuse(self, tmp_path: Path) -> None:
        (tmp_path / "live").mkdir()
        (tmp_path / "live" / "coordinator.json").write_text('{"state": "running", "beat": 3}')
        with pytest.warns(RecordWarning, match="without locks"), Store(tmp_path).lock():
            pass


def test_a_living_sweep_on_another_machine_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some network file systems have locks that hold on one machine alone.
    with live.Live(tmp_path):
        monkeypatch.setattr(lock.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(MutransferError, match="at work on"), Store(tmp_path).lock():
            pass
