"""The runs of a record: losses by rule, size and hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import (
    Drawn,
    MutransferError,
    Result,
    Size,
    columns,
    frozen,
    number,
    parsed,
    parsing,
    plain,
)
from ..statistics import Array
from ._columns import NAMES, OUTCOMES
from ._hyperparameters import HYPERPARAMETERS, is_pattern, neutral
from ._metric import EARLY, METRICS, check_direction, check_lengths, check_metric, loss_of
from ._points import lowest_on_lines, point_means
from ._run import AXES, SWEPT, size_of
from ._store import Row, Store
from ._table import read_table


@dataclass(frozen=True, kw_only=True, repr=False)
class Runs(Result, Drawn):
    """Every finished run of a sweep.

    Attributes:
        header: What the runs share, and what made them: "axes" of the sizes, swept
            "hyperparameters" with their "scales", the "centre" of one-at-a-time sweeps.
        rows: One row a run.
        metric: What is compared: "mean", the training loss over the whole run, which does not
            saturate in short runs; "final", over its last steps; "validation"; or a metric's name.
    """

    header: dict[str, Any]
    rows: list[Row]
    metric: str = "mean"

    @classmethod
    def read(cls, folder: str | Path, metric: str = "mean") -> Runs:
        """Return the record in this folder.

        Raises:
            MutransferError: it holds none, or a damaged one, or lacks the metric.
        """
        store = Store(folder)
        header = store.header()
        listed = set(header.get("runs", ()))
        rows = [row for row in store.rows() if row["id"] in listed or "runs" not in header]
        swept = header.get("hyperparameters", SWEPT)
        # Runs from before a hyperparameter was swept had the value that changes nothing.
        usual = {name: neutral(name) for name in swept if neutral(name) is not None}
        completed = [_completed(row, swept, usual) for row in rows]
        return cls(header=header, rows=completed).with_metric(metric)

    @classmethod
    def from_table(
        cls,
        table: Any,
        columns: Mapping[str, str] | None = None,
        axes: Sequence[str] | None = None,
        hyperparameters: Sequence[str] | None = None,
        *,
        rule: str | None = None,
        metric: str = "mean",
        at: Sequence[str] = (),
    ) -> Runs:
        """Return the runs of anybody's table, which has a row a run.

        Columns are recognised by their names, also with the prefixes of trackers, where they are
        not named; `notes` says which is what. An empty or infinite loss is a run that diverged.
        Without a column of seeds all runs have seed 0.

        Args:
            table: Path of a CSV, TSV, JSON lines or parquet file, or a data frame.
            columns: Columns by what they mean, such as {"lr": "learning_rate", "loss": "val_loss",
                "seed": "rng"}; "log2:COLUMN", "log10:COLUMN" and "ln:COLUMN" hold logarithms.
                Names that are no axis, hyperparameter, "seed", "rule", "status", "name" or "step"
                are further metrics.
            axes: Columns that are the size of a run, such as ["params", "tokens"]; by default those
                in `at`, or width and depth, and what else tells runs apart: params, tokens, batch,
                steps or context.
            hyperparameters: Columns that were swept; the learning rate alone by default.
            rule: Rule of all runs, where the table has no column for it.
            metric: Metric that is compared, as in `read`: "mean" is the column of the loss.
            at: Axes of the target that the runs are read for, where `axes` is not given.

        Raises:
            MutransferError: the table cannot be read, a column is missing, or rows of one run
                disagree.
        """
        loss = METRICS.get(metric, metric)
        header, rows = read_table(table, columns, axes, hyperparameters, rule, loss, at)
        return cls(header=header, rows=rows, metric=metric)

    def with_metric(self, metric: str) -> Runs:
        """Return the same runs, compared by another metric.

        Raises:
            MutransferError: no run has it, some that finished lack it, or some were stopped by
                another one.
        """
        if self.rows and metric not in self.metrics:
            raise MutransferError(
                f"the record has no metric {metric!r}; it has {', '.join(self.metrics)}"
            )
        check_metric(self.rows, metric, "table" in self.header, self.size_of)
        return replace(self, metric=metric)

    @property
    def metric_column(self) -> str | None:
        """The column of a foreign table that holds the metric; None for a record."""
        columns: Mapping[str, str] = self.header.get("table") or {}
        return columns.get("loss" if self.metric == "mean" else self.metric)

    def check_comparable(self) -> None:
        """Raise unless the lowest metric shows an optimum.

        Raises:
            MutransferError: the metric is better where it is higher, or is the mean loss of runs of
                unequal length.
        """
        check_direction(self.metric_column or self.metric)
        if self.metric == "mean":
            check_lengths(self.rows, self.size_of)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the sizes."""
        return tuple(self.header.get("axes", AXES))

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The swept hyperparameters."""
        return tuple(self.header.get("hyperparameters", SWEPT))

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how a foreign table was read; empty for a record of one's own."""
        return tuple(self.header.get("notes", ()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why runs of a foreign table may not compare."""
        return tuple(self.header.get("warnings", ()))

    @property
    def rules(self) -> list[str]:
        """The rules in the record, in the order of their first run."""
        return list(dict.fromkeys(rule for rule, _ in self._groups))

    @property
    def metrics(self) -> list[str]:
        """Names of what these runs can be compared by."""
        known = [name for name, each in METRICS.items() if any(each in row for row in self.rows)]
        said = {*NAMES, *OUTCOMES, *METRICS, *self.axes, *self.hyperparameters, *HYPERPARAMETERS}
        numbers = [
            name
            for row in self.rows
            for name, value in row.items()
            if name not in said and not is_pattern(name) and _is_number(value)
        ]
        return list(dict.fromkeys([*known, *self.header.get("metrics", ()), *numbers]))

    @property
    def ends(self) -> dict[str, int]:
        """Numbers of runs that diverged, were stopped and failed."""
        early = [row.get("status") for row in self.rows if math.isinf(self.loss_of(row))]
        others = {end: early.count(end) for end in ("stopped", "failed")}
        return {"diverged": len(early) - sum(others.values()), **others}

    def only(self, rule: str) -> Runs:
        """Return the part of the record that belongs to one rule."""
        return replace(self, rows=[row for row in self.rows if row["rule"] == rule])

    def size_of(self, row: Row) -> Size:
        """Return the size of a row."""
        return size_of(row, self.axes)

    def loss_of(self, row: Row) -> float:
        """Return the metric of a row; infinite where training diverged or was stopped."""
        return loss_of(row, self.metric)

    def sizes(self, rule: str) -> list[Size]:
        """Return the sizes that a rule was run at, from small to large."""
        return sorted(size for each, size in self._groups if each == rule)

    def seeds(self, rule: str, size: Size) -> frozenset[int]:
        """Return the seeds that a rule was run with at one size."""
        return frozenset(row["seed"] for row in self._rows(rule, size))

    def losses(
        self, rule: str, size: Size, over: str = "lr"
    ) -> tuple[list[Any], Float[Array, "seeds values"]]:
        """Return the values of one hyperparameter, and the metric of every seed at each.

        The other hyperparameters stay at the centre of a one-at-a-time sweep, and otherwise at the
        best combination of this size. The metric is infinite where training diverged, also where a
        table from elsewhere has NaN. Runs that failed are left out. A search other than the grid
        runs most values with few of the seeds: there the others are NaN.

        Args:
            rule: The rule.
            size: The size.
            over: The hyperparameter.

        Returns:
            Its values, ascending where they are numbers, and the losses.

        Raises:
            MutransferError: the record has no runs of this rule and size, did not sweep the
                hyperparameter, or lacks some runs of a full grid.
        """
        values, seeds, table = self.grid(rule, size, over)
        if "search" not in self.header and (gaps := np.argwhere(np.isnan(table))).size:
            (seed, value), what = gaps[np.lexsort(gaps.T)[0]], "rate" if over == "lr" else over
            raise MutransferError(
                f"the record lacks seed {seeds[seed]} at {what} {_text(values[value])} of rule "
                f"{rule!r} at {size}: run the sweep again to finish it"
            )
        return values, table

    def grid(
        self, rule: str, size: Size, over: str = "lr"
    ) -> tuple[list[Any], list[int], Float[Array, "seeds values"]]:
        """Return values, seeds and losses as `losses` does; NaN where a run is missing.

        Raises:
            MutransferError: the record has no runs of this rule and size, or did not sweep the
                hyperparameter.
        """
        if over not in self.hyperparameters:
            raise MutransferError(
                f"the record did not sweep {over!r}: it has {', '.join(self.hyperparameters)}"
            )
        known = {
            (row[over], row["seed"]): self.loss_of(row) for row in self.along(rule, size, over)
        }
        if not known:
            raise MutransferError(self._none_of(rule, size))
        values = _ordered({value for value, _ in known})
        seeds = sorted({seed for _, seed in known})
        table = [[known.get((value, seed), math.nan) for value in values] for seed in seeds]
        return values, seeds, np.array(table, dtype=np.float64)

    def along(self, rule: str, size: Size, over: str) -> list[Row]:
        """Return the runs that differ in one hyperparameter alone."""
        rows = self._rows(rule, size)
        others = [name for name in self.hyperparameters if name != over]
        if not others:
            return rows
        fixed = self.header.get("centre")
        if "search" in self.header:
            fixed = lowest_on_lines(self._means(rule, size), self.hyperparameters, over)
        fixed = fixed or self.best(rule, size) or {}
        return [row for row in rows if all(row.get(n) == fixed.get(n, row.get(n)) for n in others)]

    def best(self, rule: str, size: Size) -> dict[str, Any] | None:
        """Return the point of lowest mean metric at one size; None where all diverged."""
        means = self._means(rule, size)
        # Of equally good points the first in order, whatever the order of writing.
        best = min(sorted(means, key=str), key=lambda point: means[point], default=None)
        if best is None or not math.isfinite(means[best]):
            return None
        return dict(zip(self.hyperparameters, best, strict=True))

    def best_rate(self, rule: str, size: Size) -> float | None:
        """Return the rate of lowest mean loss at one size; None where all diverged."""
        best = self.best(rule, size)
        return None if best is None else float(best["lr"])

    def best_rates(self) -> dict[Size, dict[str, str]]:
        """Return the best point so far as text, such as 2^-6, by size and rule."""
        texts: dict[Size, dict[str, str]] = {}
        for rule in self.rules:
            for size in self.sizes(rule):
                best = self.best(rule, size)
                texts.setdefault(size, {})[rule] = "diverged" if best is None else _point_text(best)
        return texts

    def __str__(self) -> str:
        if not self.rows:
            return "no runs yet"
        sizes = sorted({size for _, size in self._groups})
        numbers = {"run": len(self.rows), "rule": len(self.rules), "size": len(sizes)}
        for name in self.hyperparameters:
            values = {row[name] for row in self.rows if name in row}
            numbers["rate" if name == "lr" else f"{name} value"] = len(values)
        numbers["seed"] = len({row["seed"] for row in self.rows})
        runs, *grid = (f"{n} {name}{'' if n == 1 else 's'}" for name, n in numbers.items())
        ends = ", ".join(f"{n} {end}" for end, n in self.ends.items() if n or end == "diverged")
        head = "\n".join([f"{runs}: {', '.join(grid)}; {ends}", *self.header.get("notes", ())])
        what = "best rate" if self.hyperparameters == SWEPT else "best"
        table, best = [[what, *self.rules]], self.best_rates()
        table += [[str(size), *(best[size].get(rule, "") for rule in self.rules)] for size in sizes]
        return "\n".join([head, "", columns(table)])

    def to_json(self) -> dict[str, Any]:
        """Return the header and every row, as data."""
        data: dict[str, Any] = plain(
            {"header": self.header, "rows": self.rows, "metric": self.metric}
        )
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Runs:
        """Return the runs that `to_json` wrote.

        Raises:
            MutransferError: the data holds no runs.
        """
        with parsing("a record written by Runs.to_json"):
            fields = parsed(data)
            header, metric = dict(fields["header"]), fields.get("metric", "mean")
            swept = header.get("hyperparameters", SWEPT)
            rows = [_completed(dict(row), swept, {}) for row in fields["rows"]]
            runs = cls(header=header, rows=rows, metric=metric)
            column = METRICS.get(metric, metric)
            for row in rows:
                for key in ("rule", *runs.axes, "seed"):
                    row[key]
                # A run that ended early may have no metric.
                number(row.get(column) if row.get("status") in EARLY else row[column])
            return runs

    def _means(self, rule: str, size: Size) -> dict[tuple[Any, ...], float]:
        """Return the mean metric of every point of one size."""
        rows, is_searched = self._rows(rule, size), "search" in self.header
        return point_means(rows, self.hyperparameters, self.loss_of, fill=is_searched)

    @cached_property
    def _groups(self) -> dict[tuple[str, Size], list[Row]]:
        """The rows of each rule and size: a table of a million rows is gone through once."""
        groups: dict[tuple[Any, ...], list[Row]] = {}
        key = itemgetter("rule", *self.axes)
        for row in self.rows:
            groups.setdefault(key(row), []).append(row)
        return {(rule, self.size_of(rows[0])): rows for (rule, *_), rows in groups.items()}

    def _rows(self, rule: str, size: Size) -> list[Row]:
        rows = self._groups.get((rule, Size(size)), [])
        return [row for row in rows if row.get("status") != "failed"]

    def _none_of(self, rule: str, size: Size) -> str:
        """Return why there are no losses of a rule at one size."""
        if failed := self._groups.get((rule, size)):
            why = failed[0].get("message", "no message")
            return f"every run of rule {rule!r} at {size} failed, the first with: {why}"
        return f"the record has no runs of rule {rule!r} at {size}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _completed(row: Row, swept: Sequence[str], usual: Mapping[str, Any]) -> Row:
    """Return a row with all swept hyperparameters, as values that can be hashed."""
    missing = {name: value for name, value in usual.items() if name not in row}
    lists = {name: frozen(row[name]) for name in swept if isinstance(row.get(name), list | dict)}
    return row | missing | lists


def _ordered(values: set[Any]) -> list[Any]:
    """Return values in order; numbers by size, others by their text."""
    if all(isinstance(value, int | float) for value in values):
        return sorted(values)
    return sorted(values, key=str)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _point_text(point: Mapping[str, Any]) -> str:
    """Return a point as text: the rate as a power of two, then the others by name."""
    parts = [f"2^{math.log2(point['lr']):g}"] if "lr" in point else []
    return ", ".join([*parts, *(f"{n} {_text(v)}" for n, v in point.items() if n != "lr")])
