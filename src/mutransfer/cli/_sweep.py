"""`mutransfer sweep`."""

from __future__ import annotations

import sys
from pathlib import Path

from tyro.conf import Positional

from ._live import LiveSweep, best_table
from ._load import load_a
from ._show import Terminal


def sweep(study: Positional[str], out: Path, extend: int = 0) -> None:
    """Train every run of a study; stopped at any time, the same command finishes it.

    Runs that failed are listed with their messages, and the exit code is 1 then; the same command
    tries them again.

    Try: mutransfer sweep my_study.py:study --out runs/gpt

    Try: mutransfer sweep my_study.py:study --out runs/gpt --extend 4

    Args:
        study: A mutransfer.Study, as FILE.py:NAME or MODULE:NAME.
        out: Folder of the record.
        extend: Number of rates to add beyond the grid where an optimum lies at its edge.
    """
    from ..studies import Study
    from ..studies import sweep as run

    wanted = load_a(Study, "mutransfer.Study", study)
    console = Terminal()
    with LiveSweep(console, "sweep") as live:
        runs = run(wanted, out, extend=extend, progress=live)
    console.print(best_table(runs))
    console.print(
        f"{len(runs.rows)} runs are in {out}; "
        f"next: mutransfer transfer {out}, mutransfer report {out}",
        soft_wrap=True,
    )
    if failed := [row for row in runs.rows if row.get("status") == "failed"]:
        for row in failed:
            point = ", ".join(f"{name}={row[name]}" for name in runs.hyperparameters)
            what = f"{row['rule']} at {runs.size_of(row)}, {point}, seed {row['seed']}"
            print(f"failed: {what}: {row['message']}", file=sys.stderr)
        raise SystemExit(1)
