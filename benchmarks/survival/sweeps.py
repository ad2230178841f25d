"""Sweeps in processes of their own, which can be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import mutransfer as mt
from mutransfer.core import Progress

from .studies import DIARY, STUDIES

WORKERS = {
    "processes": "_serve.main(",
    "ray": "ray::",
    "submitit": "submitit",
}
"""Part of the command line of the workers of an engine."""

REFUSED = "is at work on"
"""Part of the error of a second sweep of a record."""

Patch = Callable[[], None]
"""Called in the new process before the sweep."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a sweep leaves its traces.

    Attributes:
        folder: The record.
        diary: The file that notes what is trained.
    """

    folder: Path
    diary: Path

    def ids(self) -> set[str]:
        """Return the runs that the record has, without the library's reader."""
        return {row["id"] for row in self.lines() if row.get("status") != "failed"}

    def lines(self) -> list[dict[str, Any]]:
        """Return all whole rows of all shards."""
        rows = []
        for path in sorted(self.folder.glob("rows-*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:
                with suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    def trained(self) -> list[set[str]]:
        """Return the ids of the runs that began to train together, in order."""
        text = self.diary.read_text() if self.diary.exists() else ""
        return [set(line.split()) for line in text.splitlines()]


class Coordinator:
    """A sweep in a process of its own, forked so that it begins at once.

    Args:
        place: Where it leaves its traces.
        study: Name of the study.
        small: True for the small study.
        patch: Called before the sweep.
        settings: Arguments of `sweep`.
    """

    def __init__(
        self,
        place: Place,
        study: str,
        *,
        small: bool = False,
        patch: Patch | None = None,
        **settings: Any,
    ) -> None:
        self.place = place
        self._said = place.diary.with_suffix(f".{time.monotonic_ns()}.json")
        work = (self._said, place, study, small, patch, settings)
        self.process = multiprocessing.get_context("fork").Process(target=_run, args=work)
        self.process.start()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process.pid is not None
        return self.process.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Return True if the sweep ends within these seconds."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def kill(self) -> None:
        """Kill it without a warning, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.join()

    @property
    def outcome(self) -> dict[str, Any]:
        """What became of the sweep: its "error", its "warnings" and "notes"."""
        try:
            said: dict[str, Any] = json.loads(self._said.read_text())
        except (OSError, ValueError):
            return {"error": f"killed ({self.process.exitcode})", "warnings": [], "notes": []}
        return said


class Pair:
    """The same sweep, started twice at once by mistake.

    Args:
        place: Where both leave their traces.
        arguments: As of `Coordinator`.
        settings: As of `Coordinator`.
    """

    def __init__(self, place: Place, *arguments: Any, **settings: Any) -> None:
        self._both = [Coordinator(place, *arguments, **settings) for _ in range(2)]

    def wait(self, seconds: float | None = None) -> bool:
        """Return True if both end within these seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        for each in self._both:
            each.wait(None if end is None else max(0.0, end - time.monotonic()))
        return all(each.wait(0) for each in self._both)

    def kill(self) -> None:
        """Kill both."""
        for each in self._both:
            each.kill()

    @property
    def outcome(self) -> dict[str, Any]:
        """Outcome of the one that was not refused."""
        refused, others = list[dict[str, Any]](), list[dict[str, Any]]()
        for each in self._both:
            outcome = each.outcome
            (refused if REFUSED in outcome["error"] else others).append(outcome)
        if not others:
            return {"error": "both were refused", "warnings": [], "notes": []}
        worst = max(others, key=lambda outcome: len(outcome["error"]))
        return {**worst, "notes": [*worst["notes"], *("refused" for _ in refused)]}


def _run(
    said: Path, place: Place, study: str, small: bool, patch: Patch | None, settings: dict[str, Any]
) -> None:
    """Sweep, and say how it ended."""
    os.setsid()
    os.environ[DIARY] = str(place.diary)
    log = os.open(place.diary.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    error, notes = "", list[str]()

    def keep(progress: Progress) -> None:
        if progress.note:
            notes.append(progress.note)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if patch is not None:
                patch()
            mt.sweep(STUDIES[study](small=small), place.folder, progress=keep, **settings)
        except BaseException as failure:
            traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
    sys.stdout.flush()
    sys.stderr.flush()
    data: dict[str, Any] = {"error": error, "warnings": [str(each.message) for each in caught]}
    data["notes"] = notes
    half = said.with_suffix(".half")
    half.write_text(json.dumps(data))
    half.replace(said)


def workers(engine: str, roots: list[int]) -> list[psutil.Process]:
    """Return the workers of an engine among the descendants of some processes."""
    pattern = WORKERS[engine.partition(":")[0]]
    found = [(each, _command(each)) for root in roots for each in _descendants(root)]
    # Agents of Ray are no workers: their death is that of a node.
    return [each for each, command in found if pattern in command and "Agent" not in command]


def left_behind(diary: Path) -> list[psutil.Process]:
    """Return the processes that still work for a sweep that has ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_ours = process.environ().get(DIARY) == str(diary)
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _descendants(root: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield from psutil.Process(root).children(recursive=True)


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
