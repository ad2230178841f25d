"""`mutransfer transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from ..core import MutransferError, text
from ._flags import as_flags
from ._record import read_runs, read_target, written
from ._show import Terminal, show

if TYPE_CHECKING:
    from ..certificates import Transfers
    from ..studies import Runs


def transfer(
    runs: Positional[Path],
    columns: tuple[str, ...] = (),
    axes: str | None = None,
    hyperparameters: str | None = None,
    at: tuple[str, ...] = (),
    over: str | None = None,
    metric: str = "mean",
    regret: float | None = None,
    collapse: bool = False,
    json: bool = False,
) -> None:
    """Certify which hyperparameters to use at a target size, how sure, or why not.

    The runs are a sweep's, or anybody's table: CSV, TSV, JSON lines or parquet with a row a run.
    A rule that is refused has the reason, and what to run next; the exit code is 1 then.

    Try: mutransfer transfer runs/gpt

    Try: mutransfer transfer runs/gpt --at width=8192 depth=64 --json

    Try: mutransfer transfer runs/gpt --collapse

    Try: mutransfer transfer sweep.csv --columns loss=val_loss --axes params,tokens --at params=1e9

    Args:
        runs: Folder of the record that a sweep wrote, or a table.
        columns: Columns of a table by what they mean, such as loss=val_loss lr=log2:log_lr.
        axes: Columns of a table that are the size of a run, such as params,tokens.
        hyperparameters: Columns of a table that were swept, such as lr,weight_decay.
        at: Size of the target; axes that are not named are the largest of the sweep.
        over: One hyperparameter to look at alone; the learning rate and all others by default.
        metric: What is compared: mean, final, validation, or the name of a metric.
        regret: Loss that may be given away: the smallest proxy that keeps within it is named.
        collapse: Compare the loss curves of one run a size instead: do the sizes train alike?
        json: Print JSON: a list with the certificate or the refusal of each rule.
    """
    from ..certificates import transfer as find_transfer
    from ..report import Section, transfer_table

    if collapse and (others := _given(at=at, over=over, regret=regret)):
        raise MutransferError(
            f"--collapse compares the sizes that were run: leave {' and '.join(others)} out"
        )
    if regret is not None and not regret >= 0:
        raise MutransferError(f"--regret {regret:g}: give a loss of at least 0")
    target = read_target(at)
    # A table's hyperparameters are those that are asked for; a record knows its own.
    swept = hyperparameters if runs.is_dir() else hyperparameters or over
    record = read_runs(runs, columns, axes, swept, metric, target)
    if collapse:
        _collapse(record, json)
        return
    found = find_transfer(record, target, over)
    everything = (found, *found.others)
    if json:
        print(text(list(found.outcomes)))
        _exit(found)
        return
    console = Terminal()
    for note in record.notes:
        print(as_flags(note))
    for each in everything:
        if each.granted:
            console.print(transfer_table(Section.of(each)))
        for outcome in each.outcomes:
            print(as_flags(str(outcome)))
    if regret is not None:
        for granted in found.granted:
            print(f"{granted.rule}: {granted.proxies.reason(regret)}")
    if found.granted or found.choices:
        print(f"next: mutransfer report {written(runs, columns, axes, swept, at, metric)}")
    _exit(found)


def _given(**flags: object) -> list[str]:
    """Return the flags that have a value."""
    return [f"--{name}" for name, value in flags.items() if value not in ((), None)]


def _collapse(record: Runs, json: bool) -> None:
    """Show whether loss curves collapse; exit code 1 if not, 3 if unknown."""
    from ..certificates import collapse

    found = collapse(record)
    show(found, json=json)
    if not found.ok:
        raise SystemExit(1)
    if not found.sure:
        raise SystemExit(3)


def _exit(found: Transfers) -> None:
    """End with exit code 1 where a rule is refused."""
    if not found.ok:
        raise SystemExit(1)
