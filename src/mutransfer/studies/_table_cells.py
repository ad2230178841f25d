"""Cells of a foreign table as numbers, states and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core import MutransferError
from ._table_names import Column
from ._table_source import Table

_MISSING = frozenset({"", "-", "none", "null", "na", "n/a", "<na>", "nat"})

_POWERS: dict[str, Callable[[float], float]] = {
    "log2": lambda value: 2.0**value,
    "log10": lambda value: 10.0**value,
    "ln": math.exp,
}

_FINISHED = frozenset({"finished", "complete", "completed", "success", "succeeded", "done", "ok"})
_DIVERGED = frozenset({"diverged", "nan"})

_SAME = 1e-6
"""Relative difference up to which two values are one: rounding to float32 makes 6e-8 of it."""

Numbers = list[float | None]
"""Numbers of a column; None where the cell is empty."""


def numbers(table: Table, column: Column, cells: Sequence[Any]) -> Numbers:
    """Return a column as numbers, without its unit.

    Raises:
        MutransferError: a cell is no number, or its power is none.
    """
    try:
        values: Numbers = list(map(float, cells))
    except (TypeError, ValueError):
        values = [_number(table, column, row, cell) for row, cell in enumerate(cells)]
    if not column.unit:
        return values
    power = _POWERS[column.unit]
    try:
        return [None if value is None else power(value) for value in values]
    except OverflowError:
        raise MutransferError(
            f"{table.title}: {column} is larger than any number: see its unit"
        ) from None


def merged(values: Numbers) -> Numbers:
    """Return numbers with the shortest in place of those that differ by rounding.

    >>> merged([0.0010000000474974513, 0.001, 0.002, None])
    [0.001, 0.001, 0.002, None]
    """
    known = sorted({value for value in values if value is not None and value == value})
    groups: list[list[float]] = []
    for value in known:
        if groups and math.isclose(value, groups[-1][0], rel_tol=_SAME):
            groups[-1].append(value)
        else:
            groups.append([value])
    if len(groups) == len(known):
        return values
    one = {
        value: min(group, key=lambda each: len(repr(each))) for group in groups for value in group
    }
    return [value if value is None else one.get(value, value) for value in values]


def is_missing(cell: Any) -> bool:
    """Return True for an empty cell, in the spellings of CSV and of data frames."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return type(cell).__name__ in ("NAType", "NaTType")


def status(cell: Any) -> str:
    """Return the state of a run in the words of a record.

    >>> status("COMPLETE"), status("crashed"), status("")
    ('finished', 'failed', 'finished')
    """
    word = "" if is_missing(cell) else str(cell).strip().lower().rpartition(".")[2]
    if not word or word in _FINISHED:
        return "finished"
    if word in _DIVERGED:
        return "diverged"
    return "stopped" if word in ("running", "pruned", "stopped") else "failed"


def choices(cells: Sequence[Any]) -> list[str | None]:
    """Return a column as text; None where the cell is empty."""
    return [None if is_missing(cell) else str(cell).strip() for cell in cells]


def _number(table: Table, column: Column, row: int, cell: Any) -> float | None:
    if is_missing(cell):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise NotANumber(
            f"{table.title}: {cell!r} in column {column.name}, row {table.first + row}, is no "
            "number: write it with a decimal point, or leave it empty"
        ) from None


class NotANumber(MutransferError):
    """A cell that is no number."""
