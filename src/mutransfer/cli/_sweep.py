"""`mutransfer sweep`."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..core import MutransferError, text
from ._live import JsonLines, LiveSweep, best_table
from ._load import load, load_a
from ._show import Terminal


def sweep(
    study: Positional[str],
    out: Path,
    extend: int = 0,
    estimate: bool = False,
    quiet: bool = False,
    json_lines: bool = False,
    tracker: str | None = None,
) -> None:
    """Train every run of a study; stopped at any time, the same command finishes it.

    The exit code is 1 where a run failed; the same command tries it again.

    Try: mutransfer sweep my_study.py:study --out runs/gpt

    Try: mutransfer sweep my_study.py:study --out runs/gpt --estimate

    Try: mutransfer sweep my_study.py:study --out runs/gpt --extend 4

    Args:
        study: A mutransfer.Study, as FILE.py:NAME or MODULE:NAME.
        out: Folder of the record.
        extend: Number of rates to add beyond the grid where an optimum lies at its edge.
        estimate: Train nothing; say how many runs are left, and their steps, FLOPs, time, memory.
        quiet: Print nothing but warnings and errors.
        json_lines: Print progress and outcome as JSON, an object a line.
        tracker: A mutransfer.studies.Tracker that gets every finished run, as FILE.py:NAME or
            MODULE:NAME.
    """
    from ..studies import Study, cost, missing
    from ..studies import sweep as run

    wanted = load_a(Study, "mutransfer.Study", study)
    if estimate:
        costs = cost(wanted, missing(wanted, out))
        print(text(costs) if json_lines else costs)
        return
    shown: Any = nullcontext()
    console = Terminal(quiet=quiet)
    if json_lines:
        shown = JsonLines()
    elif not quiet:
        shown = LiveSweep(console, "sweep", runs=len(wanted.runs()))
    tracked: Any = None if tracker is None else load(tracker)
    with shown as live:
        runs = run(wanted, out, extend=extend, progress=live, tracker=tracked)
    failed = [row for row in runs.rows if row.get("status") == "failed"]
    if not json_lines:
        console.print(best_table(runs))
        folder = shlex.quote(str(out))
        console.print(
            f"{len(runs.rows)} runs are in {out}; "
            f"next: mutransfer transfer {folder}, mutransfer report {folder}",
            soft_wrap=True,
        )
    if failed:
        raise FailedRuns(
            f"{len(failed)} of {len(runs.rows)} runs failed, the first with: "
            f"{failed[0].get('message')}; the same command tries them again"
        )


class FailedRuns(MutransferError):
    """Some runs of a sweep failed; the others are in the record."""
