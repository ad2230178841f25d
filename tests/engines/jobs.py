"""Jobs for engines, and waiting with an end."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutransfer.engines import Future

SOON = 20.0
"""Seconds within which what should happen happens, on a machine with other work."""


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> None:
    raise ValueError(text)


def process_id() -> int:
    return os.getpid()


def leave() -> None:
    raise SystemExit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def announced(path: Path, seconds: float = 600.0) -> int:
    """Write this process's id to a file, and sleep."""
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    time.sleep(seconds)
    return os.getpid()


def eventually(condition: Callable[[], Any], seconds: float = SOON) -> Any:
    """Return the first true value of a condition; fail where there is none in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)
    return value


def value(future: Future, seconds: float = SOON) -> Any:
    """Return the result of a job, without waiting for ever."""
    eventually(future.done, seconds)
    return future.result()


def announcement(path: Path, seconds: float = SOON) -> int:
    """Return the process id that a job wrote."""
    eventually(path.exists, seconds)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Return True while a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fail a test that hangs."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
