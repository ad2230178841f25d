"""The state of a sweep, seen from outside, alive or dead."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..core import MutransferError, frozen
from ._lock import holder, is_locked
from ._run import AXES, size_of
from ._signs import Beaten, beats, coordinator, is_beating, silent
from ._status_result import ENDS, Coordinating, Counts, Status, Working
from ._store import Row, Store

_SLOW = 0.5
"""Share of the usual pace below which a worker is a straggler."""

_PACED = 0.1
"""Share of the work after which its own pace says how long the rest takes."""


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
    """Return the state, the last words of the coordinator, and silent jobs."""
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
