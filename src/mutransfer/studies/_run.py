"""One training run of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core import FrozenDict, Size

AXES = ("width", "depth")
"""The axes of sizes, where a record names no others."""

SWEPT = ("lr",)
"""The swept hyperparameters, where a record names no others."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of a study.

    Attributes:
        rule: Name of the parametrization.
        size: The network's size, also given as a mapping.
        point: The swept hyperparameters at base size, by name.
        seed: The seed of initial draw and batches.
    """

    rule: str
    size: Size
    point: Mapping[str, Any]
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", Size(self.size))
        object.__setattr__(self, "point", FrozenDict(self.point))

    @property
    def lr(self) -> float:
        """The learning rate at base size."""
        return float(self.point["lr"])

    def row(self) -> dict[str, Any]:
        """Return the run as the flat row that a record has of it."""
        return {"rule": self.rule, **self.size, **self.point, "seed": self.seed}

    @classmethod
    def of(
        cls, row: Mapping[str, Any], axes: Iterable[str] = AXES, swept: Iterable[str] = SWEPT
    ) -> Run:
        """Return the run of a record's row.

        Args:
            row: The row.
            axes: Names of the axes of its size.
            swept: Names of its hyperparameters.
        """
        point = {name: row[name] for name in swept if name in row}
        return cls(rule=row["rule"], size=size_of(row, axes), point=point, seed=row["seed"])


def size_of(row: Mapping[str, Any], axes: Iterable[str] = AXES) -> Size:
    """Return the size of a record's row."""
    return Size({axis: row[axis] for axis in axes})
