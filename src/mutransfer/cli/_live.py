"""Progress on a terminal: time left, and the best rate so far at each size."""

from __future__ import annotations

import json
import math
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from .. import core

if TYPE_CHECKING:
    # For types alone: a verb that sweeps has loaded torch by now, and others answer at once.
    from ..studies import Runs


class LiveSweep:
    """The progress of sweeps; a context manager to be given as `progress=`.

    On a terminal a bar and a table renew themselves. Elsewhere one line is printed for every size.

    Args:
        console: Where it is shown.
        title: What stands before the bar.
        runs: How many runs there are in all; 0 where it is not to be shown.
    """

    def __init__(self, console: Console, title: str, *, runs: int = 0) -> None:
        self.console, self.runs = console, runs
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[left]}"))
        self.task = self.bar.add_task(title, total=1.0, left="")
        self.live = self._display()
        self.shown: set[str] = set()

    def __enter__(self) -> LiveSweep:
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def clear(self) -> None:
        """Show nothing until the next progress, as between two sweeps."""
        self.shown.clear()
        self.live.stop()
        # A display that starts again would overwrite as many lines as it had before.
        self.live = self._display()

    def _display(self) -> Live:
        return Live(console=self.console, transient=True, refresh_per_second=5)

    def __call__(self, progress: core.Progress) -> None:
        """Show this progress."""
        if progress.note:
            self.live.console.print(f"  {progress.note}", soft_wrap=True, highlight=False)
            return
        left, runs = _duration(_seconds_left(progress)), progress.result
        if not self.console.is_terminal:
            if progress.what not in self.shown:
                self.shown.add(progress.what)
                share = progress.done / progress.total if progress.total else 1.0
                counts = _counts(runs, self.runs)
                line = f"  {progress.what}: {share:.0%} done{counts}, {left} left; "
                line += _best_line(runs)
                self.console.print(line, soft_wrap=True)
            return
        self.live.start()
        shown = f"{left} left{_counts(runs, self.runs)}; {progress.what}"
        self.bar.update(self.task, completed=progress.done, total=progress.total, left=shown)
        self.live.update(Group(self.bar, best_table(runs) if runs.rows else Text("")))


class JsonLines:
    """The progress of a sweep as JSON, an object a line; a context manager."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: core.Progress) -> None:
        """Print this progress, at most once a second."""
        if progress.note:
            print(json.dumps({"note": progress.note}), flush=True)
            return
        now, ended = time.monotonic(), progress.done >= progress.total
        if now - self.last < 1 and not ended:
            return
        self.last = now
        runs = progress.result
        best = {str(size): rates for size, rates in runs.best_rates().items()}
        print(
            json.dumps(
                {
                    "what": progress.what,
                    "done": progress.done,
                    "total": progress.total,
                    "elapsed": progress.elapsed,
                    "left": _seconds_left(progress),
                    **_numbers(runs),
                    "best": best,
                }
            ),
            flush=True,
        )


_PAUSE = 5.0
"""Seconds between lines of progress where there is no terminal."""


class Counting:
    """The progress of work in pieces or seconds; a context manager.

    It is given as `progress=`. On a terminal it is a bar. Elsewhere a line is printed every few
    seconds.
    """

    def __init__(self, console: Console, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self.title = title
        self.task = self.bar.add_task(title, total=None)
        self.start = self.last = time.monotonic()

    def __enter__(self) -> Counting:
        if self.bar.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar.console.is_terminal:
            self.bar.stop()

    def __call__(self, progress: core.Progress) -> None:
        """Show this progress."""
        if not self.bar.console.is_terminal:
            self._print(progress)
            return
        description = f"{self.title}: {progress.what}"
        done = {"completed": progress.done, "total": progress.total}
        self.bar.update(self.task, description=description, **done)  # type: ignore[arg-type]

    def _print(self, progress: core.Progress) -> None:
        """Print a line, unless the last one was printed just now."""
        now = time.monotonic()
        if now - self.last < _PAUSE or not progress.done or not progress.total:
            return
        self.last, share = now, progress.done / progress.total
        left = _duration((progress.total - progress.done) * (now - self.start) / progress.done)
        self.bar.console.print(
            f"  {progress.what}: {share:.0%} done, {left} left", soft_wrap=True, highlight=False
        )


def _numbers(runs: Runs) -> dict[str, int]:
    """Return how many runs were finished, and how many of them ended early."""
    return {"runs": len(runs.rows), **runs.ends}


def _counts(runs: Runs, total: int) -> str:
    """Return these numbers as text, empty where the total is not known."""
    if not total:
        return ""
    numbers = _numbers(runs)
    ended = [f"{number} {name}" for name, number in runs.ends.items() if number]
    return ", " + ", ".join([f"{numbers['runs']}/{max(total, numbers['runs'])} runs", *ended])


def _seconds_left(progress: core.Progress) -> float:
    """Return the estimated time left, corrected by the pace of the finished part."""
    known = progress.done > 0.1 * progress.total
    pace = progress.elapsed / progress.done if known else 1.0
    return (progress.total - progress.done) * pace


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def best_table(runs: Runs) -> Table:
    """Return the best rate so far, one row a size and one column a rule."""
    title = "best rate so far"
    table = Table(title=title, box=None, title_justify="left", title_style="dim")
    table.add_column("size")
    for rule in runs.rules:
        table.add_column(rule, justify="right")
    for size, rates in runs.best_rates().items():
        table.add_row(str(size), *(rates.get(rule, "") for rule in runs.rules))
    return table


def _best_line(runs: Runs) -> str:
    """Return the best rates at the size that was finished last."""
    best = runs.best_rates()
    if not best:
        return "nothing finished yet"
    size, rules = list(best.items())[-1]
    return f"best at {size}: " + ", ".join(f"{rule} {rate}" for rule, rate in rules.items())
