"""The runs of a record as its readers want them: losses by rule and size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Drawn, MutransferError, Result, Size, columns, number, parsed, parsing, plain
from ..statistics import Array
from ._run import size_of
from ._store import Row, Store

_COLUMNS = ("rule", "width", "depth", "lr", "seed", "loss")


@dataclass(frozen=True, kw_only=True, repr=False)
class Runs(Result, Drawn):
    """Every finished run of a sweep.

    Attributes:
        header: What the runs share, and what made them.
        rows: One row a run.
    """

    header: dict[str, Any]
    rows: list[Row]

    @classmethod
    def read(cls, folder: str | Path) -> Runs:
        """Return the record in this folder.

        Raises:
            MutransferError: it holds none, or a damaged one.
        """
        store = Store(folder)
        return cls(header=store.header(), rows=store.rows())

    @property
    def rules(self) -> list[str]:
        """The rules in the record, in the order of their first run."""
        return list(dict.fromkeys(row["rule"] for row in self.rows))

    def only(self, rule: str) -> Runs:
        """Return the part of the record that belongs to one rule."""
        return Runs(header=self.header, rows=[row for row in self.rows if row["rule"] == rule])

    def sizes(self, rule: str) -> list[Size]:
        """Return the sizes that a rule was run at, from small to large."""
        return sorted({size_of(row) for row in self.rows if row["rule"] == rule})

    def seeds(self, rule: str, size: Size) -> frozenset[int]:
        """Return the seeds that a rule was run with at one size."""
        return frozenset(row["seed"] for row in self._rows(rule, size))

    def losses(self, rule: str, size: Size) -> tuple[list[float], Float[Array, "seeds rates"]]:
        """Return the rates, ascending, and the mean training loss of every seed at each.

        The loss is infinite where training diverged, also where a table from elsewhere has NaN.

        Raises:
            MutransferError: the record has no runs of this rule and size, or lacks some of a full
                grid.
        """
        known = {(row["lr"], row["seed"]): loss_of(row) for row in self._rows(rule, size)}
        if not known:
            raise MutransferError(f"the record has no runs of rule {rule!r} at {size}")
        rates, seeds = sorted({lr for lr, _ in known}), sorted({seed for _, seed in known})
        if gaps := [(lr, seed) for lr in rates for seed in seeds if (lr, seed) not in known]:
            raise MutransferError(
                f"the record lacks seed {gaps[0][1]} at rate {gaps[0][0]:g} of rule {rule!r} at "
                f"{size}: run the sweep again to finish it"
            )
        table = [[known[lr, seed] for lr in rates] for seed in seeds]
        return rates, np.array(table, dtype=np.float64)

    def best_rate(self, rule: str, size: Size) -> float | None:
        """Return the rate of lowest mean loss at one size; None where all diverged."""
        losses: dict[float, list[float]] = {}
        for row in self._rows(rule, size):
            losses.setdefault(row["lr"], []).append(loss_of(row))
        means = {lr: float(np.mean(values)) for lr, values in sorted(losses.items())}
        best = min(means, key=lambda lr: means[lr], default=None)
        return best if best is not None and math.isfinite(means[best]) else None

    def best_rates(self) -> dict[Size, dict[str, str]]:
        """Return the best rate so far as text, such as 2^-6, by size and rule."""
        texts: dict[Size, dict[str, str]] = {}
        for rule in self.rules:
            for size in self.sizes(rule):
                best = self.best_rate(rule, size)
                text = "diverged" if best is None else f"2^{math.log2(best):g}"
                texts.setdefault(size, {})[rule] = text
        return texts

    def __str__(self) -> str:
        if not self.rows:
            return "no runs yet"
        diverged = sum(math.isinf(loss_of(row)) for row in self.rows)
        rates, seeds = ({row[key] for row in self.rows} for key in ("lr", "seed"))
        sizes = sorted({size_of(row) for row in self.rows})
        numbers = {
            "run": len(self.rows),
            "rule": len(self.rules),
            "size": len(sizes),
            "rate": len(rates),
            "seed": len(seeds),
        }
        runs, *grid = (f"{n} {name}{'' if n == 1 else 's'}" for name, n in numbers.items())
        head = f"{runs}: {', '.join(grid)}; {diverged} diverged"
        table = [["best rate", *self.rules]]
        best = self.best_rates()
        table += [[str(size), *(best[size].get(rule, "") for rule in self.rules)] for size in sizes]
        return "\n".join([head, "", columns(table)])

    def to_json(self) -> dict[str, Any]:
        """Return the header and every row, as data."""
        data: dict[str, Any] = plain({"header": self.header, "rows": self.rows})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Runs:
        """Return the runs that `to_json` wrote.

        Raises:
            MutransferError: the data holds no runs.
        """
        with parsing("a record written by Runs.to_json"):
            fields = parsed(data)
            rows = [dict(row) for row in fields["rows"]]
            for row in rows:
                if lost := [key for key in _COLUMNS if key not in row]:
                    raise KeyError(lost[0])
                number(row["loss"])
            return cls(header=dict(fields["header"]), rows=rows)

    def _rows(self, rule: str, size: Size) -> list[Row]:
        return [row for row in self.rows if row["rule"] == rule and size_of(row) == size]


def loss_of(row: Row) -> float:
    """Return the mean training loss of a row; infinite where training diverged.

    None, NaN and any infinity count as diverged: a comparison with NaN would be false, and the run
    could pass for the best.

    >>> loss_of({"loss": 1.5}), loss_of({"loss": math.nan}), loss_of({"loss": "-inf"})
    (1.5, inf, inf)
    """
    loss = number(row["loss"])
    return loss if math.isfinite(loss) else math.inf
