"""`mutransfer report`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..core import about


def report(runs: Positional[Path], out: Path | None = None) -> None:
    """Write a sweep's report: an HTML page, figures, and every number as CSV and JSON.

    Try: mutransfer report runs/gpt

    Try: mutransfer report runs/gpt --out paper/figure2

    Args:
        runs: Folder of the record that a sweep wrote.
        out: Folder for the report; by default the record's own.
    """
    from ..certificates import transfer
    from ..report import Section, write_report
    from ..studies import Runs

    transfers = transfer(Runs.read(runs))
    page = write_report(out or runs, [Section.of(transfers)], about=about())
    print(f"{page.headline}\nThe report is {page.path}")
