"""The columns of a foreign table that are read, and how they were chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core import MutransferError
from ._run import AXES
from ._table_axes import known_axes, single
from ._table_names import Column, find, needed, others
from ._table_source import Table
from ._table_unlike import BESIDE

ROLES = ("seed", "rule", "status", "name", "step")
"""What a table may say of a run beside its size, its hyperparameters and its losses."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The columns that are read, by what they mean.

    Attributes:
        axes: The column of each axis.
        swept: The column of each hyperparameter.
        metrics: The column of the loss, then of other metrics that were named.
        roles: The columns of seed, rule, status, name and step, where there are any.
        beside: Columns in which runs may differ beyond their size, by axis.
        notes: Remarks on how they were chosen.
    """

    axes: dict[str, Column]
    swept: dict[str, Column]
    metrics: dict[str, Column]
    roles: dict[str, Column]
    beside: dict[str, Column]
    notes: tuple[str, ...]

    @property
    def all(self) -> dict[str, Column]:
        """Every column that is read."""
        return self.axes | self.swept | self.metrics | self.roles


def choose(
    table: Table,
    columns: Mapping[str, str],
    axes: Sequence[str] | None,
    swept: Sequence[str],
    loss: str,
    at: Sequence[str] = (),
) -> Choice:
    """Return the columns to read: those that the user named, the rest by their names.

    Args:
        table: The table.
        columns: The columns that the user named, by what they mean.
        axes: Names of the axes; None for those that `known_axes` finds.
        swept: Names of the hyperparameters.
        loss: Name of the metric that is compared.
        at: Axes that a target names.

    Raises:
        MutransferError: a column is missing, or several may be meant.
    """
    found_swept = {name: needed(table, name, columns, is_setting=True) for name in swept}
    names = _axes(axes)
    if names is None:
        known = [column for role in ("seed", "rule") if (column := find(table, role, columns))]
        measured = find(table, loss, columns)
        names = known_axes(table, columns, at, [*found_swept.values(), *known], measured)
    found_axes = {axis: needed(table, axis, columns) for axis in names}
    taken = {*found_axes, *found_swept, *ROLES}
    metrics = dict.fromkeys([loss, *(role for role in columns if role not in taken)])
    found_metrics = {name: needed(table, name, columns) for name in metrics}
    parts = found_axes | found_swept | found_metrics
    used = {column.name for column in parts.values()}
    if len(used) < len(parts):
        raise MutransferError(
            f"one column of {table.title} is named for two things: {_sentence(parts)}"
        )
    if twice := [name for name in used if table.names.count(name) > 1]:
        raise MutransferError(f"{table.title} has several columns {twice[0]}: rename all but one")
    # A column of steps may be an axis: then it is no step of a curve.
    roles = {
        role: column
        for role in ROLES
        if (column := find(table, role, columns)) and (role in columns or column.name not in used)
    }
    if "step" not in roles:
        # Names of runs tell curves apart, and are not needed otherwise.
        roles.pop("name", None)
    notes = [_sentence(parts | roles)]
    if axes is None and (further := [axis for axis in found_axes if axis not in AXES]):
        notes.append(f"the axes are {', '.join(found_axes)}: {_reason(further, at)}")
    notes += _others(table, columns, (loss, *swept), used)
    used |= {column.name for column in roles.values()}
    return Choice(
        axes=found_axes,
        swept=found_swept,
        metrics=found_metrics,
        roles=roles,
        beside=dict(_beside(table, columns, used)),
        notes=tuple(notes),
    )


def _others(
    table: Table, columns: Mapping[str, str], roles: Sequence[str], used: Collection[str]
) -> Iterator[str]:
    """Yield a note of each role that further columns may be meant by."""
    for role in roles:
        if role not in columns and (more := others(table, role, used)):
            yield (
                f"column {', '.join(more)} may be meant by {role} as well: "
                f"columns={{{role!r}: {more[0]!r}}} takes it"
            )


def _beside(
    table: Table, columns: Mapping[str, str], used: Collection[str]
) -> Iterator[tuple[str, Column]]:
    """Yield the columns in which runs may differ beyond their size, by axis."""
    for axis in BESIDE:
        column = single(table, axis, columns)
        if column is not None and column.name not in used:
            yield axis, column


def _axes(axes: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(axes, str) or (axes is not None and not axes):
        raise MutransferError(
            'axes is a list of the columns that are the size of a run, such as axes=["width"]'
        )
    return None if axes is None else tuple(axes)


def _reason(further: Sequence[str], at: Sequence[str]) -> str:
    """Return the reason why axes beside width and depth were chosen."""
    apart = [axis for axis in further if axis not in at]
    reasons = [f"{' and '.join(apart)} tell runs apart"] if apart else []
    if named := [axis for axis in further if axis in at]:
        reasons.insert(0, f"the target names {', '.join(named)}")
    return f"{'; '.join(reasons)} (axes= or --axes chooses others)"


def _sentence(columns: Mapping[str, Column]) -> str:
    """Return which column is what.

    >>> _sentence({"lr": Column(name="learning_rate"), "loss": Column(name="val_loss")})
    'lr is the column learning_rate, loss val_loss'
    """
    (role, column), *rest = columns.items()
    return ", ".join([f"{role} is the column {column}", *(f"{r} {c}" for r, c in rest)])
