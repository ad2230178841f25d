"""`mutransfer report`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..core import about
from ._record import read_runs, read_target


def report(
    runs: Positional[Path],
    out: Path | None = None,
    columns: tuple[str, ...] = (),
    axes: str | None = None,
    hyperparameters: str | None = None,
    at: tuple[str, ...] = (),
    metric: str = "mean",
) -> None:
    """Write a sweep's report: an HTML page, figures, and every number as CSV and JSON.

    Try: mutransfer report runs/gpt

    Try: mutransfer report runs/gpt --out paper/figure2 --at width=8192

    Try: mutransfer report sweep.csv --columns loss=val_loss --out runs/report

    Args:
        runs: Folder of the record that a sweep wrote, or a table.
        out: Folder for the report; by default the record's own, or that of the table's name.
        columns: Columns of a table by what they mean, such as loss=val_loss lr=log2:log_lr.
        axes: Columns of a table that are the size of a run, such as params,tokens.
        hyperparameters: Columns of a table that were swept, such as lr,weight_decay.
        at: Size to predict for; axes that are not named are the largest of the sweep.
        metric: What is compared: mean, final, validation, or the name of a metric.
    """
    from ..certificates import transfer
    from ..report import sections, write_report

    target = read_target(at)
    record = read_runs(runs, columns, axes, hyperparameters, metric, target)
    transfers = transfer(record, target)
    folder = out or (runs if runs.is_dir() else runs.with_suffix(""))
    rate = transfers.over == "lr" and not transfers.others
    title = "Learning-rate transfer" if rate else "Hyperparameter transfer"
    page = write_report(folder, sections(transfers), title=title, about=about())
    print(f"{page.headline}\nThe report is {page.path}")
