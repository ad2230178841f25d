"""The state of a sweep, seen from outside: what is done, who is at work, and how it ended."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..core import MutransferError, Result, frozen, parsed, parsing, plain
from ._lock import holder, is_locked
from ._run import AXES, size_of
from ._signs import Beaten, beats, coordinator, is_beating, silent
from ._status_text import status_text
from ._store import Row, Store

_SLOW = 0.5
"""Share of the usual pace below which a worker is a straggler."""

_PACED = 0.1
"""Share of the work after which its own pace says how long the rest takes."""

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
    """How a sweep stands.

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
        return status_text(self)

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


def status(folder: str | Path) -> Status:
    """Return how the sweep of a record stands, alive or dead.

    It takes a second or two, in which it listens for signs of life. It only reads, and disturbs no
    sweep.

    Args:
        folder: Folder of the record.

    Raises:
        MutransferError: there is no record in the folder.
    """
    path = Path(folder)
    state, said, mute = _state(path)
    try:
        header = Store(path).header()
    except MutransferError:
        # A sweep that has just begun has looked at its models for some seconds before.
        if state not in ("running", "silent"):
            raise
        header = {"runs": []}
    rows = _rows(path, header)
    is_running = state in ("running", "silent")
    failed = [row for row in rows if row.get("status") == "failed"]
    return Status(
        folder=str(folder),
        state=state,
        total=_total(header, rows),
        sizes=_sizes(header, rows),
        failure=_first_line(failed[0].get("message")) if failed else "",
        traceback=str(failed[0].get("traceback") or "") if failed else "",
        is_searched="search" in header,
        coordinator=_coordinating(said),
        workers=_workers(beats(path).values(), mute) if is_running else (),
    )


def _state(folder: Path) -> tuple[str, dict[str, Any], set[str]]:
    """Return the state, what the coordinator said last, and the jobs without signs of life."""
    said, is_held = coordinator(folder), is_locked(folder)
    if is_held:
        who = holder(folder)
        is_same = all(said.get(name) == who.get(name) for name in ("host", "pid"))
        if not is_same and who:
            # Another one than the last that gave signs: it has just begun.
            return "running", who, set()
        is_silent, jobs = silent(folder)
        return ("silent" if is_silent and said else "running"), said, jobs
    if not said:
        return "idle", {}, set()
    state = str(said.get("state"))
    # Locks may not work at all, or on one machine alone.
    is_elsewhere = is_held is None or said.get("host") != socket.gethostname()
    if state == "running" and is_elsewhere and is_beating(folder):
        return "running", said, silent(folder)[1]
    return ("killed" if state == "running" else state), said, set()


def _rows(folder: Path, header: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the study; a folder may have those of others, too."""
    if "runs" not in header:
        return Store(folder).rows()
    listed = set(header["runs"])
    return [row for row in Store(folder).rows() if row["id"] in listed]


def _total(header: Mapping[str, Any], rows: Sequence[Row]) -> Counts:
    runs = len(header["runs"]) if "runs" in header else None
    return Counts(size="all", runs=runs, **_ends(rows))


def _sizes(header: Mapping[str, Any], rows: Sequence[Row]) -> tuple[Counts, ...]:
    """Return counts of each size, in the order in which they were asked for."""
    groups: dict[str, list[Row]] = {size: [] for size in header.get("sizes", {})}
    for row in rows:
        try:
            size = str(size_of(row, header.get("axes", AXES)))
        except KeyError:
            size = "not known"
        groups.setdefault(size, []).append(row)
    known = header.get("sizes", {})
    # Records from before sizes were counted have them in their rows alone.
    is_whole = sum(known.values()) == len(header.get("runs", ()))
    return tuple(
        Counts(size=size, runs=known.get(size, 0) if is_whole else None, **_ends(each))
        for size, each in groups.items()
    )


def _ends(rows: Iterable[Row]) -> dict[str, int]:
    counts = Counter(row.get("status") or "finished" for row in rows)
    return {name: counts[name] for name in ENDS}


def _coordinating(said: Mapping[str, Any]) -> Coordinating | None:
    """Return the coordinator by what it said."""
    if not {"host", "pid"} <= said.keys():
        return None
    names = [n for n in Coordinating.__dataclass_fields__ if n in said and n != "left"]
    share, left = _progress(said)
    return Coordinating(**{n: frozen(said[n]) for n in names}, share=share, left=left)


def _progress(said: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the share of the work that is done, and the seconds that are left."""
    try:
        done, total = float(said["done"]), float(said["total"])
        seconds, share = float(said.get("elapsed", said["seconds"])), min(1.0, done / total)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None, None
    # At the beginning the estimate is better than the measured pace.
    pace = seconds / done if share > _PACED else 1.0
    return share, (total - share * total) * pace


def _workers(signs: Iterable[Beaten], mute: set[str]) -> tuple[Working, ...]:
    """Return the workers, with marks for those that are slow or silent."""
    known = list(signs)
    paces: dict[str, list[float]] = {}
    for sign in known:
        if sign.pace is not None:
            paces.setdefault(str(sign.about.get("size")), []).append(sign.pace)
    return tuple(
        Working(
            job=sign.job,
            host=sign.host,
            pid=sign.pid,
            size=str(sign.about.get("size", "")),
            runs=int(sign.about.get("runs", 1)),
            share=min(1.0, sign.steps / steps) if (steps := sign.about.get("steps")) else None,
            pace=sign.pace,
            slow=sign.pace is not None
            and sign.pace < _SLOW * median(paces[str(sign.about.get("size"))]),
            silent=sign.job in mute,
        )
        for sign in known
    )


def _first_line(message: Any) -> str:
    return (str(message or "no message").splitlines() or [""])[0]
