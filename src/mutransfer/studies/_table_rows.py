"""Rows of a foreign table that are one run: merged where they agree."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..core import MutransferError
from ._table_cells import Numbers
from ._table_source import Table

_SAME = 1e-9
"""Relative difference up to which two losses of one run are one number, printed twice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keys:
    """Keys of the runs that rows belong to.

    Attributes:
        names: The names of the parts of a key.
        values: The key of each row.
    """

    names: tuple[str, ...]
    values: Sequence[tuple[Hashable, ...]]

    def text(self, row: int) -> str:
        """Return the key of a row as text."""
        pairs = zip(self.names, self.values[row], strict=True)
        return ", ".join(
            f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
            for name, value in pairs
        )


def last_steps(
    keys: Sequence[Hashable], steps: Numbers, losses: Numbers, rows: Sequence[int]
) -> list[int]:
    """Return the row of each run's last step that has a loss, of a table of curves.

    Where a run has no loss at any step, its last row stands for it.
    """
    last: dict[Hashable, int] = {}
    for row in rows:
        key, kept = keys[row], last.get(keys[row])
        if kept is None or _rank(steps, losses, row) >= _rank(steps, losses, kept):
            last[key] = row
    return sorted(last.values())


def learned(
    keys: Sequence[Hashable],
    steps: Numbers,
    losses: Numbers,
    rows: Sequence[int],
    last: Sequence[int],
) -> dict[int, float]:
    """Return the last steps of runs that ended below the loss they began with, by row.

    The others were given up, and say nothing of training for longer.
    """
    first: dict[Hashable, tuple[float, float]] = {}
    for row in rows:
        step, loss = steps[row], losses[row]
        if step is not None and loss is not None:
            key = keys[row]
            first[key] = min(first.get(key, (step, loss)), (step, loss))
    ends: dict[int, float] = {}
    for row in last:
        step, loss = steps[row], losses[row]
        begun = first.get(keys[row])
        # A run of one row is no curve that could have risen.
        if (
            step is not None
            and loss is not None
            and begun
            and (step == begun[0] or loss < begun[1])
        ):
            ends[row] = step
    return ends


def distinct(
    table: Table, keys: Keys, losses: Sequence[float], rows: Sequence[int], used: Sequence[str]
) -> list[int]:
    """Return the first row of each run.

    Args:
        table: The table, for messages.
        keys: The runs that rows belong to.
        losses: The loss of each row.
        rows: The rows that count.
        used: The columns that are read.

    Raises:
        MutransferError: two rows of one run have different losses.
    """
    first: dict[tuple[Hashable, ...], int] = {}
    for row in rows:
        earlier = first.setdefault(keys.values[row], row)
        one, other = losses[earlier], losses[row]
        if one != other and not math.isclose(one, other, rel_tol=_SAME):
            _refuse(table, keys, losses, (earlier, row), used)
    return list(first.values())


def _rank(steps: Numbers, losses: Numbers, row: int) -> tuple[bool, float]:
    step = steps[row]
    return losses[row] is not None, -math.inf if step is None else step


def _refuse(
    table: Table, keys: Keys, losses: Sequence[float], pair: tuple[int, int], used: Sequence[str]
) -> NoReturn:
    one, other = pair
    unused = [name for name in table.names if name not in used]
    different = [name for name, cells in table.columns(unused).items() if _differ(cells, pair)]
    hint = f"; they differ in {', '.join(different)}" if different else ""
    raise MutransferError(
        f"{table.title}: rows {table.first + one} and {table.first + other} are one run, "
        f"{keys.text(one)}, with losses {losses[one]:g} and {losses[other]:g}{hint}: name the "
        "column that tells them apart as columns={'seed': COLUMN}, as an axis or a hyperparameter"
    )


def _differ(cells: Sequence[Any], pair: tuple[int, int]) -> bool:
    return bool(str(cells[pair[0]]) != str(cells[pair[1]]))
