"""`mutransfer sweep`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from tyro.conf import Positional

from ._live import LiveSweep, best_table
from ._load import load_a
from ._show import Terminal


def sweep(study: Positional[str], out: Path, extend: int = 0) -> None:
    """Train every run of a study; stopped at any time, the same command finishes it.

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
        f"next: mutransfer transfer {quote(str(out))}, mutransfer report {quote(str(out))}",
        soft_wrap=True,
    )
