"""Columns of curves that count how far each run has come, as tokens seen do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..core import MutransferError
from ._table_names import Column, find, is_setting
from ._table_source import Table

_Points = list[tuple[float, float]]


def progress(
    table: Table, columns: Mapping[str, str], keys: Sequence[Hashable], names: Sequence[str]
) -> set[str]:
    """Return the columns that rise with the step within a run: no size of it.

    Rows are of one run if they have one key, and one name where each name has one key. Without
    steps and names, no rows are known to be of one run. What was set before a run is no progress.

    Args:
        table: The table.
        columns: The columns that the user named.
        keys: Size, hyperparameters and seed of each row, as far as they are known.
        names: The columns in question.
    """
    name, step = _role(table, "name", columns), _role(table, "step", columns)
    named = table.columns([name.name])[name.name] if name else None
    if named is not None and len(set(zip(named, keys, strict=True))) > len(set(named)):
        named = None
    chosen = [each for each in names if not is_setting(each) and (not step or each != step.name)]
    if (named is None and step is None) or not chosen:
        return set()
    runs = keys if named is None else named
    cells = table.columns([*chosen, *([step.name] if step else [])])
    order = cells[step.name] if step else range(len(keys))
    return {each for each in chosen if _rises(runs, order, cells[each])}


def _role(table: Table, role: str, columns: Mapping[str, str]) -> Column | None:
    try:
        return find(table, role, columns)
    except MutransferError:
        return None


def _rises(runs: Sequence[Hashable], order: Sequence[Any], cells: Sequence[Any]) -> bool:
    """Return True if a column rises within a run, and falls in none."""
    points: dict[Hashable, _Points] = {}
    for run, step, cell in zip(runs, order, cells, strict=True):
        try:
            points.setdefault(run, []).append((float(step), float(cell)))
        except (TypeError, ValueError):
            continue
    steps = [pair for each in points.values() for pair in pairwise(sorted(each))]
    rises = any(a[0] < b[0] and a[1] < b[1] for a, b in steps)
    return rises and all(a[1] <= b[1] and (a[0] < b[0] or a[1] == b[1]) for a, b in steps)
