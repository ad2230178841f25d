"""The state of a sweep as people read it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import columns

if TYPE_CHECKING:
    from ._status import Coordinating, Status, Working

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


def status_text(status: Status) -> str:
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
    yield f"{status.folder}: {_SENTENCES.get(status.state, status.state)}"
    total, who = status.total, status.coordinator
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
    is_done = status.state == "finished" and not status.total.left
    if is_done:
        yield f"next: mutransfer transfer {folder}, mutransfer report {folder}"
    elif command := _command(status):
        yield f"to go on, with what is done kept:\n  {command}"
    else:
        yield "to go on, with what is done kept, start the same sweep again"
    if status.total.failed:
        yield "failed runs are trained again with --retry failed"


def _command(status: Status) -> str:
    """Return the command that goes on, as it is given in this folder; empty if it is not known."""
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
