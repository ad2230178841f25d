"""What a sweep shows while it runs: progress, the time left, and the best rate so far for each size."""

from __future__ import annotations

import math
from types import TracebackType

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .sweep import Progress as Sweep
from .sweep import Runs, Size


class LiveSweep:
    """Shows the progress of sweeps; a context manager whose instance is the `report` of `sweep`.

    On a terminal a bar and a table renew themselves; elsewhere one line is printed for every size.
    """

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self.task = self.bar.add_task(title, total=1.0, left="")
        self.live = Live(console=console, transient=True, refresh_per_second=5)
        self.shown: set[Size] = set()

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

    def __call__(self, sweep: Sweep) -> None:
        """Show this progress."""
        left = _duration(_left(sweep))
        if not self.console.is_terminal:
            if sweep.size not in self.shown:
                self.shown.add(sweep.size)
                share = sweep.done / sweep.total if sweep.total else 1.0
                self.console.print(
                    f"  {sweep.size}: {share:.0%} done, {left} left; {_best_line(sweep.runs)}",
                    soft_wrap=True,
                )
            return
        self.bar.update(
            self.task, completed=sweep.done, total=sweep.total, left=f"{left} left; {sweep.size}"
        )
        self.live.update(Group(self.bar, best_table(sweep.runs) if sweep.runs.rows else Text("")))


def _left(sweep: Sweep) -> float:
    """Seconds left: the estimate, corrected by how the finished part kept to it."""
    pace = sweep.elapsed / sweep.done if sweep.done > 0.1 * sweep.total else 1.0
    return (sweep.total - sweep.done) * pace


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def best_so_far(runs: Runs) -> dict[str, dict[str, str]]:
    """For every rule and size, the rate of lowest mean loss so far, such as 2^-6."""
    best: dict[str, dict[str, str]] = {}
    for rule in runs.rules:
        for size in runs.sizes(rule):
            rates, losses = runs.losses(rule, size)
            mean = losses.mean(0)
            best.setdefault(str(size), {})[rule] = (
                f"2^{math.log2(rates[int(np.argmin(mean))]):g}"
                if np.isfinite(mean).any()
                else "diverged"
            )
    return best


def best_table(runs: Runs) -> Table:
    """The best rate so far, one row a size and one column a rule."""
    table = Table(title="best rate so far", box=None, title_justify="left", title_style="dim")
    table.add_column("size")
    for rule in runs.rules:
        table.add_column(rule, justify="right")
    for size, rules in best_so_far(runs).items():
        table.add_row(size, *(rules.get(rule, "") for rule in runs.rules))
    return table


def _best_line(runs: Runs) -> str:
    """The best rates at the size that was finished last."""
    best = best_so_far(runs)
    if not best:
        return "nothing finished yet"
    size, rules = list(best.items())[-1]
    return f"best at {size}: " + ", ".join(f"{rule} {rate}" for rule, rate in rules.items())


class Counting:
    """Shows how many of equal pieces of work are done; a context manager whose instance is called as report(what, done, total)."""

    def __init__(self, console: Console, title: str) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.title = title
        self.task = self.bar.add_task(title, total=None)

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

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so many are done."""
        self.bar.update(self.task, completed=done, total=total, description=f"{self.title}: {what}")
