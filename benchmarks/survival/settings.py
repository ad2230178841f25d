"""Surroundings of sweeps: a small disk, another user, a clock that jumps, little memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .scene import Scenery
from .studies import MEMORY, limit_memory
from .sweeps import Place

NOBODY = 65534
"""User without any rights."""


class LeftOut(Exception):
    """A case that cannot be done on this machine, and why."""


@contextmanager
def small_disk(folder: Path, engine: str) -> Iterator[Scenery]:
    """Give a disk of one megabyte."""
    if os.getuid():
        raise LeftOut("only root can mount a small disk")
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)])
    if mounted.returncode:
        raise LeftOut("no small disk can be mounted here")
    try:
        yield Scenery(disk, engine)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def public(folder: Path, engine: str) -> Iterator[Scenery]:
    """Give a folder in which everyone can write."""
    folder.chmod(0o777)
    yield Scenery(folder, engine)


def as_nobody(place: Place) -> Callable[[], None]:
    """Return what makes a process that of a user without rights, as root can write anywhere."""

    def patch() -> None:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    return patch


def with_little_memory(place: Place) -> Callable[[], None]:
    """Return what limits the memory of the workers that a process starts, or its own."""

    def patch() -> None:
        os.environ[MEMORY] = str(700 << 20)

    return patch


def with_little_memory_here(place: Place) -> Callable[[], None]:
    """Return what limits the memory of a process."""

    def patch() -> None:
        os.environ[MEMORY] = str(700 << 20)
        limit_memory()

    return patch


def clock(place: Place) -> Path:
    """Return the file with the seconds by which a sweep's clock is wrong."""
    return place.diary.with_suffix(".clock")


def by_wrong_clock(place: Place) -> Callable[[], None]:
    """Return what makes the clock of a process jump as a file says."""
    path = clock(place)

    def patch() -> None:
        seconds, nanoseconds = time.time, time.time_ns

        def offset() -> int:
            return int(path.read_text()) if path.exists() else 0

        time.time = lambda: seconds() + offset()
        time.time_ns = lambda: nanoseconds() + offset() * 10**9

    return patch
