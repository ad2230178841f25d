"""The runs that a command names: a record's folder, or anybody's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

from ..core import MutransferError

if TYPE_CHECKING:
    from ..studies import Runs


def read_runs(
    path: Path,
    columns: Sequence[str] = (),
    axes: str | None = None,
    swept: str | None = None,
    metric: str = "mean",
    at: Iterable[str] = (),
) -> Runs:
    """Return the runs of a folder or a file.

    Args:
        path: The folder of a record, or a table.
        columns: Columns of a table, as NAME=COLUMN.
        axes: Columns of a table that are the size, with commas between.
        swept: Columns of a table that were swept, with commas between.
        metric: The metric to compare.
        at: Axes of the target, which a table's axes are where `axes` names none.

    Raises:
        MutransferError: there is nothing to read, or it cannot be read.
    """
    from ..studies import Runs

    if path.is_dir() or not (path.exists() or path.suffix):
        if columns or axes or swept:
            raise MutransferError(
                f"{path} is the folder of a record, which knows its columns: "
                "leave --columns, --axes and --hyperparameters out"
            )
        return Runs.read(path, metric)
    return Runs.from_table(
        path,
        columns=dict(_pair(text, "--columns", "lr=learning_rate") for text in columns),
        axes=_names(axes),
        hyperparameters=_names(swept),
        metric=metric,
        at=tuple(at),
    )


def read_target(texts: Sequence[str]) -> dict[str, float]:
    """Return the size that `--at` names, as AXIS=NUMBER.

    Raises:
        MutransferError: a text has another form.
    """
    pairs = [_pair(text, "--at", "width=8192") for text in texts]
    try:
        return {axis: float(value) for axis, value in pairs}
    except ValueError:
        raise MutransferError(
            f"--at {' '.join(texts)} has a size that is no number: write it as width=8192"
        ) from None


def written(
    path: Path,
    columns: Sequence[str],
    axes: str | None,
    swept: str | None,
    at: Sequence[str],
    metric: str,
) -> str:
    """Return these arguments as a shell takes them."""
    lists = {"--columns": columns, "--at": at}
    texts = {"--axes": axes, "--hyperparameters": swept}
    words = [str(path)]
    for flag, values in lists.items():
        words += [flag, *values] if values else []
    for flag, text in texts.items():
        words += [flag, text] if text else []
    return join([*words, *(["--metric", metric] if metric != "mean" else [])])


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise MutransferError(f"{flag} {text} is no pair: write it as {example}")
    return name, value
