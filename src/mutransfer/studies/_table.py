"""Anybody's table of runs as a record: any axes, any hyperparameters."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..core import MutransferError, Size
from ..rules import DEFAULT
from ._hyperparameters import HYPERPARAMETERS, range_of, scale_of
from ._run import SWEPT
from ._store import Row
from ._table_cells import NotANumber, Numbers, choices, merged, numbers, status
from ._table_choice import Choice, choose
from ._table_names import Column, check_kind
from ._table_rows import Keys, distinct, last_steps, learned
from ._table_schedule import is_scheduled
from ._table_source import Table, open_table
from ._table_unlike import Compared, unequal_ends

_FEWEST_OCTAVES = 2.0
"""Octaves that positive values must span for a logarithmic scale."""

_LARGEST_LOSS = 3.4e38
"""Losses above the largest number of float32 are marks of runs that diverged."""

_NAMED = 5
"""Most rows that a note names."""


def read_table(
    source: Any,
    columns: Mapping[str, str] | None,
    axes: Sequence[str] | None,
    hyperparameters: Sequence[str] | None,
    rule: str | None,
    loss: str,
    at: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Row]]:
    """Return header and rows of the record that a table holds.

    Args:
        source: As `Runs.from_table` takes it, like the next four.
        columns: Columns by what they mean.
        axes: Names of the axes.
        hyperparameters: Names of the hyperparameters.
        rule: The rule of all runs.
        loss: Name of the column of a record that is compared, such as "loss".
        at: Axes that a target names, where `axes` is not given.

    Raises:
        MutransferError: the table cannot be read, a column is missing, a cell has another kind, or
            rows of one run disagree.
    """
    with _no_collection():
        table = open_table(source)
        check_kind(table)
        swept = tuple(SWEPT if hyperparameters is None else hyperparameters)
        choice = choose(table, dict(columns or {}), axes, swept, loss, at)
        read = [*choice.all.values(), *choice.beside.values()]
        cells = table.columns(column.name for column in read)
        if not cells[choice.metrics[loss].name]:
            raise MutransferError(f"{table.title} has column names and no rows")
        return _Reading(table=table, choice=choice, cells=cells, loss=loss, rule=rule).record()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for circles, which goes through all rows again and again.

    A million rows are read in half the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reading:
    """One reading of a table.

    Attributes:
        table: The table.
        choice: Its columns by what they mean.
        cells: Its cells, by the name of the column.
        loss: Name of the metric that is compared.
        rule: The rule of all runs, if the user gave it.
        notes: Remarks on what was found.
        ends: The step at which runs end that learned, by their row.
    """

    table: Table
    choice: Choice
    cells: Mapping[str, Sequence[Any]]
    loss: str
    rule: str | None
    notes: list[str] = field(default_factory=list)
    ends: dict[int, float] = field(default_factory=dict)

    def record(self) -> tuple[dict[str, Any], list[Row]]:
        """Return header and rows."""
        self.notes.extend(self.choice.notes)
        axes = {name: self._axis(name, column) for name, column in self.choice.axes.items()}
        swept = {name: self._swept(name, column) for name, column in self.choice.swept.items()}
        metrics = {
            name: numbers(self.table, column, self.cells[column.name])
            for name, column in self.choice.metrics.items()
        }
        states = self._states()
        rows = self._complete(self._ended(states), axes | swept)
        for name, values in (axes | {"lr": swept["lr"]} if "lr" in swept else axes).items():
            self._check_positive(name, values, rows)
        parts = {"rule": self._rules(), **axes, **swept, "seed": self._seeds()}
        rows = self._runs(parts, metrics[self.loss], states, rows)
        metrics = {name: list(map(_finite, values)) for name, values in metrics.items()}
        fields = {**parts, "status": states, **metrics}
        header = self._header(swept, rows) | {"warnings": self._unlike(axes, states, rows)}
        picked = [[values[row] for row in rows] for values in fields.values()]
        records = [dict(zip(fields, values, strict=True)) for values in zip(*picked, strict=True)]
        return header, records

    def _header(self, swept: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> dict[str, Any]:
        columns = {role: str(column) for role, column in self.choice.all.items()}
        scales = {
            name: _scale(name, list({values[row] for row in rows}))
            for name, values in swept.items()
        }
        return {
            "identity": {"table": self.table.title, "columns": columns},
            "about": {},
            "axes": list(self.choice.axes),
            "hyperparameters": list(swept),
            "scales": scales,
            "metrics": [name for name in self.choice.metrics if name != "loss"],
            "table": columns,
            "notes": self.notes,
        }

    def _unlike(
        self, axes: Mapping[str, Numbers], states: Sequence[str], rows: Sequence[int]
    ) -> list[str]:
        """Return warnings where runs that are compared differ beyond their size."""
        rows = [row for row in rows if states[row] == "finished"]
        cells = zip(*([values[row] for row in rows] for values in axes.values()), strict=True)
        sizes = [Size(zip(axes, each, strict=True)) for each in cells]
        beside = {}
        for axis, column in self.choice.beside.items():
            try:
                values = numbers(self.table, column, self.cells[column.name])
            except NotANumber:
                continue
            beside[axis] = (column.name, [values[row] for row in rows])
        compared = Compared(axes=tuple(axes), sizes=sizes, beside=beside)
        if not self.ends:
            return compared.warnings()
        ends = [self.ends.get(row) for row in rows]
        return [
            *unequal_ends(self.choice.roles["step"].name, sizes, ends),
            *compared.warnings(),
        ]

    def _column(self, role: str) -> Sequence[Any] | None:
        column = self.choice.roles.get(role)
        return None if column is None else self.cells[column.name]

    def _axis(self, name: str, column: Column) -> Numbers:
        return _whole(self._shared(column))

    def _swept(self, name: str, column: Column) -> Sequence[Any]:
        try:
            values = self._shared(column)
        except NotANumber:
            if name == "lr" or column.unit:
                raise
            return choices(self.cells[column.name])
        self._check_range(name, column, values)
        rounded = merged(values)
        if rounded is not values:
            self.notes.append(f"values of {name} that differ by rounding alone are one")
        return rounded

    def _check_range(self, name: str, column: Column, values: Numbers) -> None:
        """Raise where a value is larger than the hyperparameter can be, as a beta of 1.5."""
        most = range_of(name)[1]
        if (large := next((v for v in values if v is not None and v > most), None)) is not None:
            raise MutransferError(
                f"{self.table.title}: {column.name} has the value {large:g}, and {name} is at most "
                f"{most:g}: mend the cell, or name another column, as columns={{{name!r}: COLUMN}}"
            )

    def _shared(self, column: Column) -> Numbers:
        """Return a column of few different numbers, where equal ones share one object."""
        cells = self.cells[column.name]
        try:
            # In the order of rows, so that a cell that is no number is named by its first row.
            different = list(dict.fromkeys(cells))
            known = dict(zip(different, numbers(self.table, column, different), strict=True))
        except (NotANumber, TypeError):
            return numbers(self.table, column, cells)
        return [known[cell] for cell in cells]

    def _states(self) -> list[str]:
        cells = self._column("status")
        if cells is None:
            return ["finished"] * len(self.cells[self.choice.metrics[self.loss].name])
        known = {cell: status(cell) for cell in dict.fromkeys(map(str, cells))}
        return [known[str(cell)] for cell in cells]

    def _seeds(self) -> Sequence[int]:
        cells = self._column("seed")
        if cells is None:
            self.notes.append("there is no column of seeds: every run counts as seed 0")
            return [0] * len(self.cells[self.choice.metrics[self.loss].name])
        try:
            values = self._shared(self.choice.roles["seed"])
            return [0 if value is None else int(value) for value in values]
        except (NotANumber, ValueError):
            known = {name: seed for seed, name in enumerate(sorted(set(map(str, cells))))}
            return [known[str(cell)] for cell in cells]

    def _rules(self) -> Sequence[str]:
        cells = self._column("rule")
        if self.rule is not None or cells is None:
            name = self.rule or DEFAULT
            return [name] * len(self.cells[self.choice.metrics[self.loss].name])
        return [text or DEFAULT for text in choices(cells)]

    def _ended(self, states: Sequence[str]) -> list[int]:
        """Return the rows of runs that finished or diverged."""
        rows = [row for row, state in enumerate(states) if state in ("finished", "diverged")]
        if len(rows) < len(states):
            column = self.choice.roles["status"]
            left = [row for row, state in enumerate(states) if state in ("failed", "stopped")]
            known = Counter(str(self.cells[column.name][row]) for row in left)
            kinds = ", ".join(f"{count} {kind}" for kind, count in known.items())
            self.notes.append(f"runs that did not finish are left out: {kinds}{self._at(left)}")
        return rows

    def _complete(self, rows: list[int], parts: Mapping[str, Sequence[Any]]) -> list[int]:
        """Return the rows with a size and all hyperparameters."""
        for name, values in parts.items():
            # Different values are few, rows may be a million.
            if not any(value is None or value != value for value in set(values)):
                continue
            lost = [row for row in rows if values[row] is None or values[row] != values[row]]
            if lost:
                self.notes.append(f"rows without {name} are left out{self._at(lost)}")
                gone = set(lost)
                rows = [row for row in rows if row not in gone]
        if not rows:
            raise MutransferError(f"{self.table.title} has no runs left: {'; '.join(self.notes)}")
        return rows

    def _check_positive(self, name: str, values: Sequence[Any], rows: Iterable[int]) -> None:
        if all(0 < value < math.inf for value in set(map(values.__getitem__, rows))):
            return
        row = next(row for row in rows if not 0 < values[row] < math.inf)
        column = self.choice.all[name]
        unit = (
            f": if the column holds logarithms, say so as columns={{{name!r}: "
            f"'log2:{column.name}'}} (log10: and ln: likewise)"
            if values[row] < 0 and not column.unit
            else ": correct or remove that row"
        )
        raise MutransferError(
            f"{self.table.title}: {column} is {values[row]:g} in row {self.table.first + row}, and "
            f"{name} must be positive{unit}"
        )

    def _runs(
        self,
        parts: Mapping[str, Sequence[Hashable]],
        losses: Numbers,
        states: list[str],
        rows: list[int],
    ) -> list[int]:
        """Return one row of each run; set the state of those that diverged."""
        keys = list(zip(*parts.values(), strict=True))
        rows = self._ends_of_curves(keys, losses, rows)
        ends = [_end(loss, state) for loss, state in zip(losses, states, strict=True)]
        for row in rows:
            if math.isinf(ends[row]):
                states[row] = "diverged"
        used = [column.name for column in self.choice.all.values()]
        only = distinct(self.table, Keys(names=tuple(parts), values=keys), ends, rows, used)
        if len(only) < len(rows):
            twice = len(rows) - len(only)
            self.notes.append(
                f"{twice} rows repeat others and count once"
                if twice > 1
                else "one row repeats another and counts once"
            )
        return only

    def _ends_of_curves(
        self, keys: Sequence[tuple[Hashable, ...]], losses: Numbers, rows: list[int]
    ) -> list[int]:
        """Return a row of each run, where the table has a row of each step."""
        step, names = self.choice.roles.get("step"), self._column("name")
        if step is None:
            return rows
        if names is not None:
            known: dict[Any, Hashable] = {}
            for row in rows:
                if known.setdefault(names[row], keys[row]) != keys[row]:
                    raise MutransferError(
                        f"{self.table.title}: run {names[row]} changes its size, hyperparameters "
                        f"or seed at row {self.table.first + row}, as a logged schedule does: give "
                        "columns that are the same over a run, such as the peak learning rate"
                    )
        curves = keys if names is None else list(zip(keys, names, strict=True))
        steps = numbers(self.table, step, self.cells[step.name])
        if names is None:
            self._check_unscheduled(keys, steps, losses, rows)
        last = last_steps(curves, steps, losses, rows)
        self.ends.update(learned(curves, steps, losses, rows, last))
        if names is None and len(last) == len(rows):
            self.notes.append(f"every row counts as a run, although there is a column {step}")
        elif len(last) < len(rows):
            self.notes.append(
                f"the table has curves: of every run the last {step} with a loss counts, "
                f"{len(last)} of {len(rows)} rows"
            )
        return last

    def _check_unscheduled(
        self,
        keys: Sequence[tuple[Hashable, ...]],
        steps: Numbers,
        losses: Numbers,
        rows: Sequence[int],
    ) -> None:
        """Raise where rows of one run would count as runs, for their rate was logged."""
        first = 1 + len(self.choice.axes)
        last = first + len(self.choice.swept)
        groups = [key[:first] + key[last:] for key in keys]
        if is_scheduled(groups, [key[first:last] for key in keys], steps, losses, rows):
            names = " and ".join(column.name for column in self.choice.swept.values())
            raise MutransferError(
                f"{self.table.title}: values of {names} take over from each other as steps go on, "
                "as those of a logged schedule do, and no column names the runs: add a column of "
                "what was set, such as the peak learning rate, as columns={'lr': COLUMN}; if these "
                "are settings, add one that names the runs, as columns={'name': COLUMN}"
            )

    def _at(self, rows: Sequence[int]) -> str:
        """Return the numbers of the first rows, in brackets."""
        numbers = ", ".join(str(self.table.first + row) for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return f" (row{'s' if len(rows) > 1 else ''} {numbers}{more})"


def _scale(name: str, values: Sequence[Any]) -> str:
    """Return the scale of a hyperparameter; of one that we do not know, by its values.

    >>> _scale("beta2", [0.9, 0.95]), _scale("mlp_lr", [0.01, 0.1]), _scale("optimizer", ["a"])
    ('log2(1/(1-x))', 'log2', 'choice')
    """
    scale = scale_of(name, values)
    if name in HYPERPARAMETERS or scale != "linear":
        return scale
    low, high = min(values), max(values)
    return "log2" if low > 0 and high >= low * 2**_FEWEST_OCTAVES else "linear"


def _whole(values: Numbers) -> Numbers:
    """Return whole numbers as int, so that sizes print without a point."""
    known: dict[float | None, Any] = {}
    for value in set(values):
        is_whole = value is not None and math.isfinite(value) and value == int(value)
        known[value] = int(value) if is_whole and value is not None else value
    return [known[value] for value in values]


def _finite(value: float | None) -> float | None:
    """Return a number as a record has it: None where it is infinite or NaN."""
    return value if value is not None and math.isfinite(value) else None


def _end(loss: float | None, state: str) -> float:
    """Return the loss of a run; infinite where it diverged or has none."""
    if state == "diverged" or loss is None or not math.isfinite(loss) or loss > _LARGEST_LOSS:
        return math.inf
    return loss
