"""The axes of a foreign table where none are named: those that tell runs apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..core import MutransferError
from ._run import AXES
from ._table_names import Column, find
from ._table_progress import progress
from ._table_source import Table

FURTHER = ("params", "tokens", "batch", "steps", "context")
"""Axes that count only where the target names them, or runs would be one without them."""


def known_axes(
    table: Table,
    columns: Mapping[str, str],
    at: Sequence[str],
    parts: Iterable[Column],
    loss: Column | None,
) -> tuple[str, ...]:
    """Return the axes of a table whose user named none.

    They are those of the target, or width and depth as far as the table has them and the target
    names no others, and each further axis that differs between runs which would otherwise be one.
    What rises with the step within a run, as tokens seen, is none.

    Args:
        table: The table.
        columns: The columns that the user named.
        at: Axes that the target names.
        parts: Columns that tell runs apart already: hyperparameters, seed, rule.
        loss: The column of the loss.

    Raises:
        MutransferError: the table has none.
    """
    default = [axis for axis in AXES if find(table, axis, columns)]
    axes = list(at) if set(at) - set(default) else default
    taken = [*parts, *(column for axis in axes if (column := find(table, axis, columns)))]
    axes += _needed(table, columns, axes, taken, loss)
    if not axes:
        raise MutransferError(
            f"{table.title} has no column for width or depth, nor for {', '.join(FURTHER)} that "
            "tells runs apart: say which columns are the size of a run, such as "
            'axes=["params", "tokens"] (--axes params,tokens); '
            f"the columns are {', '.join(table.names)}"
        )
    return tuple(axes)


def _needed(
    table: Table,
    columns: Mapping[str, str],
    axes: Sequence[str],
    taken: Sequence[Column],
    loss: Column | None,
) -> list[str]:
    """Return the further axes that differ between runs which are one without them."""
    names = [column.name for column in taken]
    candidates = {axis: single(table, axis, columns) for axis in (*AXES, *FURTHER)}
    free = {
        axis: column.name
        for axis, column in candidates.items()
        if column and axis not in axes and column.name not in names
    }
    if not free or loss is None or loss.name in free.values():
        return []
    cells = table.columns(dict.fromkeys([*names, *free.values(), loss.name]))
    keys: list[tuple[object, ...]] = list(zip(*(cells[name] for name in names), strict=True))
    rising = progress(table, columns, keys, list(free.values()))
    needed = []
    for axis, name in free.items():
        if name in rising:
            continue
        if len(set(cells[name])) > 1 and _differs(keys, cells[name], cells[loss.name]):
            needed.append(axis)
            keys = [(*key, cell) for key, cell in zip(keys, cells[name], strict=True)]
    return needed


def single(table: Table, axis: str, columns: Mapping[str, str]) -> Column | None:
    """Return the column of an axis; none where several may be meant."""
    try:
        return find(table, axis, columns)
    except MutransferError:
        return None


def _differs(keys: Sequence[object], cells: Sequence[object], losses: Sequence[object]) -> bool:
    """Return True if two rows of one key have other cells and other losses."""
    first: dict[object, tuple[object, object]] = {}
    for key, cell, loss in zip(keys, cells, losses, strict=True):
        other, other_loss = first.setdefault(key, (cell, loss))
        if other != cell and other_loss != loss:
            return True
    return False
