"""`mutransfer transfer`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..core import text
from ._record import read_runs, read_target, written
from ._show import Terminal


def transfer(
    runs: Positional[Path],
    columns: tuple[str, ...] = (),
    axes: str | None = None,
    hyperparameters: str | None = None,
    at: tuple[str, ...] = (),
    over: str | None = None,
    metric: str = "mean",
    json: bool = False,
) -> None:
    """Show how far the best rate drifts with size, and the rate to use at a target.

    The runs are a sweep's, or anybody's table: CSV, TSV, JSON lines or parquet with a row a run.
    Rules whose best rate could not be found are named with the reason, and the exit code is 2 then.

    Try: mutransfer transfer runs/gpt

    Try: mutransfer transfer runs/gpt --at width=8192 depth=64 --json

    Try: mutransfer transfer sweep.csv --columns loss=val_loss --axes params,tokens --at params=1e9

    Args:
        runs: Folder of the record that a sweep wrote, or a table.
        columns: Columns of a table by what they mean, such as loss=val_loss lr=log2:log_lr.
        axes: Columns of a table that are the size of a run, such as params,tokens.
        hyperparameters: Columns of a table that were swept, such as lr,weight_decay.
        at: Size of the target; axes that are not named are the largest of the sweep.
        over: One hyperparameter to look at alone; the learning rate and all others by default.
        metric: What is compared: mean, final, validation, or the name of a metric.
        json: Print JSON, of rules that were refused, too: their reasons.
    """
    from ..certificates import transfer as find_transfer
    from ..report import Section, transfer_table

    target = read_target(at)
    # A table's hyperparameters are those that are asked for; a record knows its own.
    swept = hyperparameters if runs.is_dir() else hyperparameters or over
    record = read_runs(runs, columns, axes, swept, metric, target)
    found = find_transfer(record, target, over)
    everything = (found, *found.others)
    if json:
        print(text([outcome for each in everything for outcome in each.outcomes]))
        found.raise_if_refused()
        return
    console = Terminal()
    for note in record.notes:
        print(note)
    for each in everything:
        if len(each):
            console.print(transfer_table(Section.of(each)))
        for outcome in (*each, *each.choices):
            print(outcome)
    if len(found) or found.choices:
        print(f"next: mutransfer report {written(runs, columns, axes, swept, at, metric)}")
    found.raise_if_refused()
