"""The record of a sweep as its readers want it: losses by rule and size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size
from ..statistics import Array
from ._store import Row, Store


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Every finished run of a sweep.

    Attributes:
        header: What the runs share, and what made them.
        rows: One row a run.
    """

    header: dict[str, Any]
    rows: list[Row]

    @classmethod
    def read(cls, folder: str | Path) -> Runs:
        """The record in this folder.

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
        """The part of the record that belongs to one rule."""
        return Runs(header=self.header, rows=[row for row in self.rows if row["rule"] == rule])

    def sizes(self, rule: str) -> list[Size]:
        """The sizes that a rule was run at, from small to large."""
        return sorted(
            {
                Size(width=row["width"], depth=row["depth"])
                for row in self.rows
                if row["rule"] == rule
            }
        )

    def seeds(self, rule: str, size: Size) -> frozenset[int]:
        """The seeds that a rule was run with at one size."""
        return frozenset(
            row["seed"]
            for row in self.only(rule).rows
            if (row["width"], row["depth"]) == (size["width"], size["depth"])
        )

    def losses(self, rule: str, size: Size) -> tuple[list[float], Float[Array, "seeds rates"]]:
        """The rates, ascending, and the mean training loss of every seed at every rate; infinite where it diverged.

        Raises:
            MutransferError: the record has no runs of this rule and size, or lacks some of a full grid.
        """
        found = {
            (row["lr"], row["seed"]): row["loss"]
            for row in self.rows
            if (row["rule"], row["width"], row["depth"]) == (rule, size["width"], size["depth"])
        }
        if not found:
            raise MutransferError(f"the record has no runs of rule {rule!r} at {size}")
        rates, seeds = sorted({lr for lr, _ in found}), sorted({seed for _, seed in found})
        if gaps := [(lr, seed) for lr in rates for seed in seeds if (lr, seed) not in found]:
            raise MutransferError(
                f"the record lacks seed {gaps[0][1]} at rate {gaps[0][0]:g} of rule {rule!r} at {size}: run the sweep again to finish it"
            )
        table = [
            [math.inf if found[lr, seed] is None else found[lr, seed] for lr in rates]
            for seed in seeds
        ]
        return rates, np.array(table, dtype=np.float64)
