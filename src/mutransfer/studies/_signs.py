"""Signs of life as files: names, writing, reading.

Nothing depends on them: where they cannot be written, as on a full disk, training goes on. Times
are of each process's own monotonic clock, so that clocks of machines are never compared.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import plain

FOLDER, COORDINATOR, JOBS, STOP = "live", "coordinator.json", "jobs", "stop"
"""Folder of signs of life in that of a record, and what is in it."""

BEAT = 1.0
"""Seconds between two signs of life."""

LISTEN = 2.5
"""Seconds without a sign after which a process counts as silent."""


@dataclass(frozen=True, kw_only=True)
class Beaten:
    """The last sign of life of a worker.

    Attributes:
        job: The job.
        host: Machine of the worker.
        pid: Its process.
        alive: How often it gave a sign: a number that no longer grows is that of a dead or
            suspended worker.
        steps: Optimizer steps of all runs so far.
        seconds: Time since the job began, of the worker's own clock.
        pace: Steps a second of late; None at the beginning.
        about: What the job is: its "size", number of "runs", and "steps" of all runs.
    """

    job: str
    host: str
    pid: int
    alive: int
    steps: int
    seconds: float = 0.0
    pace: float | None = None
    about: dict[str, Any] = field(default_factory=dict)


def coordinator(folder: Path) -> dict[str, Any]:
    """Return the last sign of life of a record's coordinator, or nothing."""
    live = folder / FOLDER
    # Opening a folder makes network file systems ask for its present files.
    with suppress(OSError):
        os.scandir(live).close()
    return read(live / COORDINATOR)


def is_beating(folder: Path, seconds: float = LISTEN) -> bool:
    """Return True if a record's coordinator gives a sign of life in these seconds."""
    first, start = coordinator(folder), time.monotonic()
    while time.monotonic() - start < seconds:
        time.sleep(BEAT / 10)
        if coordinator(folder).get("beat") != first.get("beat"):
            return True
    return False


def silent(folder: Path, seconds: float = LISTEN) -> tuple[bool, set[str]]:
    """Return True if the coordinator is silent for so long, and the silent jobs."""
    first, known, start = coordinator(folder), beats(folder), time.monotonic()
    is_silent, jobs = True, set(known)
    while (is_silent or jobs) and time.monotonic() - start < seconds:
        # A thousand workers are a thousand files.
        time.sleep(BEAT / 4)
        is_silent = is_silent and coordinator(folder) == first
        now = beats(folder)
        jobs = {job for job in jobs if now.get(job) == known[job]}
    return is_silent, jobs


def beats(folder: Path) -> dict[str, Beaten]:
    """Return the last signs of life of the workers of a record, by job."""
    try:
        paths = sorted((folder / FOLDER / JOBS).glob("*.json"))
    except OSError:
        return {}
    found = {}
    for path in paths:
        # A file that vanishes in between is of a job that has just ended.
        with suppress(KeyError, TypeError, ValueError):
            data = read(path)
            found[str(data["job"])] = Beaten(**data)
    return found


def me() -> dict[str, Any]:
    """Return machine and id of this process."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def replace(path: Path, data: Mapping[str, Any]) -> bool:
    """Write a small file at once, and return False if it cannot be written."""
    whole = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        whole.write_text(json.dumps(plain(data), allow_nan=False))
        whole.replace(path)
    except OSError:
        with suppress(OSError):
            whole.unlink(missing_ok=True)
        return False
    return True


def read(path: Path) -> dict[str, Any]:
    """Return what a small file says, nothing where it is missing or damaged."""
    try:
        return parsed(path.read_bytes())
    except OSError:
        return {}


def parsed(text: bytes) -> dict[str, Any]:
    """Return what a text says, nothing where it is damaged."""
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
