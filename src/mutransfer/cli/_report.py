"""`mutransfer report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from ..core import MutransferError, about
from ._record import read_runs, read_target

if TYPE_CHECKING:
    from ..checks import CoordinateCheck
    from ..report import Page
    from ..studies import Runs


def report(
    runs: Positional[tuple[Path, ...]],
    out: Path | None = None,
    columns: tuple[str, ...] = (),
    axes: str | None = None,
    hyperparameters: str | None = None,
    at: tuple[str, ...] = (),
    metric: str = "mean",
    check: tuple[Path, ...] = (),
    watch: bool = False,
) -> None:
    """Write a sweep's report: a page to explore, figures, all numbers as CSV and JSON.

    The page is one file that needs no network. Several records stand side by side in it, with a
    test over paired seeds.

    Try: mutransfer report runs/gpt

    Try: mutransfer report runs/gpt --out paper/figure2 --at width=8192

    Try: mutransfer report runs/adam runs/muon --out runs/both

    Try: mutransfer report runs/gpt --watch

    Try: mutransfer report sweep.csv --columns loss=val_loss --out runs/report

    Args:
        runs: Folder of the record that a sweep wrote, or a table; several to compare them.
        out: Folder for the report; by default the record's own, or that of the table's name.
        columns: Columns of a table by what they mean, such as loss=val_loss lr=log2:log_lr.
        axes: Columns of a table that are the size of a run, such as params,tokens.
        hyperparameters: Columns of a table that were swept, such as lr,weight_decay.
        at: Size to predict for; axes that are not named are the largest of the sweep.
        metric: What is compared: mean, final, validation, or the name of a metric.
        check: Folders of coordinate checks to show; by default RUNS/check where there is one.
        watch: Write the page again while the sweep runs; an open page follows.
    """
    from ..report import joined, names_of, watched

    if not runs:
        raise MutransferError("name the folder of a record, or a table: mutransfer report runs/gpt")
    target, folder = read_target(at), out or _folder(runs)

    def write(refresh: float | None = None, note: str = "") -> Page:
        records = [read_runs(each, columns, axes, hyperparameters, metric, target) for each in runs]
        record = records[0]
        if len(runs) > 1:
            record = joined(dict(zip(names_of(runs), records, strict=True)))
        return _write(record, folder, target, _checks(check, runs), refresh, note)

    # A watch waits for what a record has not yet, a misspelt folder would never come.
    _checks(check, runs)
    page = watched(runs, write) if watch else write()
    print(f"{page.headline}\nThe report is {page.path}")


def _write(
    record: Runs,
    folder: Path,
    target: dict[str, float],
    checks: Sequence[CoordinateCheck],
    refresh: float | None,
    note: str,
) -> Page:
    from ..certificates import transfer
    from ..report import sections, write_report

    transfers = transfer(record, target)
    rate = transfers.over == "lr" and not transfers.others
    return write_report(
        folder,
        sections(transfers),
        title="Learning-rate transfer" if rate else "Hyperparameter transfer",
        about=about(),
        checks=checks,
        refresh=refresh,
        note=note,
    )


def _folder(runs: Sequence[Path]) -> Path:
    """Return the folder of the report where none is named."""
    first = runs[0] if runs[0].is_dir() else runs[0].with_suffix("")
    if len(runs) == 1:
        return first
    return first.parent / "-".join(each.stem for each in runs)


def _checks(named: Sequence[Path], runs: Sequence[Path]) -> list[CoordinateCheck]:
    """Return the coordinate checks of the named folders, or else of the records.

    Raises:
        MutransferError: a folder that was named holds no check.
    """
    from ..checks import CoordinateCheck

    files = {folder: _check_files(folder) for folder in named or runs}
    if missing := [str(folder) for folder in named if not files[folder]]:
        raise MutransferError(
            f"--check {' '.join(missing)}: there is no check.json; give the folder that "
            "mutransfer check --out wrote"
        )
    return [CoordinateCheck.from_json(path.read_text()) for each in files.values() for path in each]


def _check_files(folder: Path) -> list[Path]:
    """Return the files of the check that is in a folder, or in its folder `check`."""
    paths = [folder / "check.json", folder / "check" / "check.json"]
    return [path for path in paths if path.is_file()]
