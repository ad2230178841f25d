"""The state of a sweep as a result: counts, workers, and how people read it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core import Result, columns, parsed, parsing, plain

_SHOWN = 20
"""Most workers that are listed."""

_CHAINED = re.compile(r"\n(?:The above exception was|During handling of the above)")

_TRACED = 12
"""Most lines of a traceback that are shown."""

_SENTENCES = {
    "running": "a sweep is at work",
    "silent": "a sweep holds the record, and gives no sign of life: it is suspended, or hangs",
    "finished": "the sweep has finished",
    "interrupted": "the sweep was interrupted",
    "failed": "the sweep ended with an error",
    "killed": "the sweep was killed, or its machine went down",
    "idle": "no sweep is at work",
}

ENDS = ("finished", "diverged", "stopped", "failed")
"""Ends of a run."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Runs of one size, or of all.

    Attributes:
        size: The size, "all" for all.
        runs: How many the study, or its search, has asked for; None where that is not known.
        finished: Runs that are whole.
        diverged: Runs that diverged.
        stopped: Runs that a search or a training function stopped.
        failed: Runs that failed.
    """

    size: str
    runs: int | None
    finished: int = 0
    diverged: int = 0
    stopped: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Number of runs with a row in the record."""
        return self.finished + self.diverged + self.stopped + self.failed

    @property
    def left(self) -> int | None:
        """Number of runs without a row."""
        return None if self.runs is None else max(0, self.runs - self.done)


@dataclass(frozen=True, kw_only=True)
class Working:
    """One worker, by its last sign of life.

    Attributes:
        job: Its job.
        host: Its machine.
        pid: Its process.
        size: The size that it trains.
        runs: How many runs of it.
        share: Share of the job's steps that is done; None where it is not known.
        pace: Steps a second of late; None at the beginning.
        slow: True for a straggler: less than half the median pace of jobs of this size.
        silent: True if it gives no sign of life: it was killed, is suspended, or hangs.
    """

    job: str
    host: str
    pid: int
    size: str
    runs: int
    share: float | None
    pace: float | None
    slow: bool
    silent: bool


@dataclass(frozen=True, kw_only=True)
class Coordinating:
    """The process that runs a sweep, or ran it last.

    Attributes:
        host: Its machine.
        pid: Its process.
        engine: The engine that runs its jobs; empty where it did not say.
        workers: Number of workers; None where the engine has as many as it likes.
        started: Begin of the sweep, as its machine's clock had it.
        seconds: Time that it has been at work, as it said last.
        what: What it trains.
        share: Share of the work that it began with and has done; None where nothing is known.
        left: Seconds that are left, as estimated; None where nothing is known.
        message: The error with which it ended; empty without one.
        command: The command line that goes on where it ended; empty where there is none.
        folder: The folder in which that is to be given.
    """

    host: str
    pid: int
    engine: str = ""
    workers: int | None = None
    started: str = ""
    seconds: float | None = None
    what: str = ""
    share: float | None = None
    left: float | None = None
    message: str = ""
    command: str = ""
    folder: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Status(Result):
    """The state of a sweep.

    Attributes:
        folder: Folder of the record.
        state: "running"; "silent", where the process holds the record and gives no sign of life;
            "finished", "interrupted" or "failed", as it said at its end; "killed", where it ended
            without a word; "idle", where no sweep has left a sign.
        total: Counts of all runs.
        sizes: Counts of each size.
        failure: Message of the first run that failed; empty without one.
        traceback: Its traceback; empty where there is none.
        is_searched: True if a search decides as it goes along how many runs there will be.
        coordinator: The process that runs the sweep, or ran it last; None where it is not known.
        workers: Its workers, while it lives.
    """

    folder: str
    state: str
    total: Counts
    sizes: tuple[Counts, ...] = ()
    failure: str = ""
    traceback: str = ""
    is_searched: bool = False
    coordinator: Coordinating | None = None
    workers: tuple[Working, ...] = ()

    @property
    def is_running(self) -> bool:
        """True if a process is at work on the record."""
        return self.state in ("running", "silent")

    def __str__(self) -> str:
        return _text(self)

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain data."""
        data: dict[str, Any] = plain(
            {name: getattr(self, name) for name in self.__dataclass_fields__}
        )
        for counts, shown in zip(
            (self.total, *self.sizes), (data["total"], *data["sizes"]), strict=True
        ):
            shown["left"] = counts.left
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Status:
        """Return the status that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a status written by Status.to_json"):
            fields = parsed(data)
            who = fields["coordinator"]
            return cls(
                **fields
                | {
                    "total": _counts_of(fields["total"]),
                    "sizes": tuple(_counts_of(each) for each in fields["sizes"]),
                    "coordinator": None if who is None else Coordinating(**who),
                    "workers": tuple(Working(**each) for each in fields["workers"]),
                }
            )


def _counts_of(data: Mapping[str, Any]) -> Counts:
    return Counts(**{name: value for name, value in data.items() if name != "left"})


def _text(status: Status) -> str:
    """Return a status as people read it."""
    parts = ["\n".join(_head(status))]
    if status.sizes:
        parts.append(_sizes(status))
    if status.failure:
        parts.append("\n".join(_failure(status)))
    if status.workers:
        parts.append(_workers(status.workers))
    parts.append("\n".join(_next(status)))
    return "\n\n".join(part for part in parts if part)


def _head(status: Status) -> Iterator[str]:
    total, who = status.total, status.coordinator
    is_new = status.state == "idle" and not total.done
    sentence = "no sweep has begun" if is_new else _SENTENCES.get(status.state, status.state)
    yield f"{status.folder}: {sentence}"
    counts = f"{total.done} runs are done"
    if total.runs is not None:
        counts = f"{total.done} of {total.runs} runs are done"
    if status.is_running and who is not None and who.share is not None:
        counts += f", {math.floor(100 * who.share)}% of the work"
    if status.is_running and who is not None and who.left is not None:
        counts += f"; about {duration(who.left)} left"
    if status.is_searched and status.state != "finished":
        counts += "; the search may ask for more"
    yield f"  {counts}"
    if who is not None:
        yield f"  {_who(who, is_running=status.is_running)}"
    if status.is_running and who is not None and who.what and not status.workers:
        yield f"  now: {who.what}"
    if who is not None and who.message:
        yield f"  error: {who.message}"


def _who(who: Coordinating, *, is_running: bool) -> str:
    parts = [f"process {who.pid} on {who.host}"]
    if who.engine:
        workers = "" if who.workers is None else f" ({who.workers})"
        parts.append(f"engine {who.engine}{workers}")
    if who.started:
        parts.append(f"{'since' if is_running else 'begun'} {_local(who.started)}")
    if who.seconds is not None:
        parts.append(f"at work for {duration(who.seconds)}")
    return ", ".join(parts)


def _sizes(status: Status) -> str:
    """Return the table of sizes; ends that no run had are left out."""
    every = [*status.sizes, *([status.total] if len(status.sizes) > 1 else [])]
    ends = [name for name in ("diverged", "stopped", "failed") if getattr(status.total, name)]
    is_known = all(counts.runs is not None for counts in every)
    head = ["size", *(["runs"] if is_known else []), "finished", *ends]
    rows = [[*head, *(["left"] if is_known else [])]]
    for counts in every:
        numbers = [counts.finished, *(getattr(counts, name) for name in ends)]
        row = [*([counts.runs] if is_known else []), *numbers]
        rows.append([counts.size, *map(_number, [*row, *([counts.left] if is_known else [])])])
    return columns(rows, right=range(1, len(rows[0])))


def _workers(workers: tuple[Working, ...]) -> str:
    """Return the table of workers; of many, those in trouble come first."""
    shown = list(workers)
    if len(shown) > _SHOWN:
        shown = sorted(shown, key=lambda worker: (not worker.silent, not worker.slow))[:_SHOWN]
    rows = [["worker", "size", "runs", "done", "steps/s", ""]]
    for worker in shown:
        share = "" if worker.share is None else f"{worker.share:.0%}"
        pace = "" if worker.pace is None else _pace(worker.pace)
        note = "no sign of life" if worker.silent else "slow" if worker.slow else ""
        name = f"process {worker.pid} on {worker.host}"
        rows.append([name, worker.size, str(worker.runs), share, pace, note])
    table = columns(rows, right=(2, 3, 4))
    others = len(workers) - len(shown)
    if others:
        table += f"\nand {others} others"
    if any(worker.slow for worker in workers):
        table += "\nslow: less than half the median pace at this size"
    return table


def _failure(status: Status) -> Iterator[str]:
    """Yield what failed first, with the end of its traceback."""
    one = status.total.failed == 1
    begin = "1 run failed" if one else f"{status.total.failed} runs failed, the first"
    yield f"{begin} with: {status.failure}"
    # The first error of a chain is that of the user's code.
    first, *_ = _CHAINED.split(status.traceback)
    lines = first.rstrip().splitlines()
    if len(lines) > _TRACED or (lines and not lines[0].startswith("Traceback")):
        lines = lines[1:]
        yield "  ..."
    yield from (f"  {line}" for line in lines[-_TRACED:])


def _next(status: Status) -> Iterator[str]:
    """Yield what to do now."""
    if status.is_running:
        return
    folder = shlex.quote(status.folder)
    # A search may want more runs than it has asked for, unless it has ended.
    if not status.total.left and (status.state == "finished" or not status.is_searched):
        yield f"next: mutransfer transfer {folder}, mutransfer report {folder}"
    elif command := _command(status):
        yield f"to go on, with what is done kept:\n  {command}"
    elif status.total.done:
        yield "to go on, with what is done kept, start the same sweep again"
    if status.total.failed:
        yield "failed runs are trained again with --retry failed"


def _command(status: Status) -> str:
    """Return the command that goes on, for this folder; empty if not known."""
    who = status.coordinator
    if who is None or not who.command:
        return ""
    is_here = not who.folder or Path(who.folder) == Path.cwd()
    return who.command if is_here else f"cd {shlex.quote(who.folder)} && {who.command}"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _pace(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _local(time: str) -> str:
    """Return a time of another machine in this one's zone."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return time


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> duration(42.2), duration(600), duration(9000), duration(200_000)
    ('43 s', '10 min', '2.5 h', '2.3 days')
    """
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{math.ceil(seconds)} s" if unit == 1 else f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86_400:.2g} days"
