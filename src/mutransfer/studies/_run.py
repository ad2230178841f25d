"""One training run of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core import Size


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of a study.

    Attributes:
        rule: Name of the parametrization.
        size: The network's size, also given as a mapping.
        lr: The learning rate at base size.
        seed: The seed of initial draw and batches.
    """

    rule: str
    size: Size
    lr: float
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", Size(self.size))

    def row(self) -> dict[str, Any]:
        """Return the run as the flat row that a record has of it."""
        return {"rule": self.rule, **self.size, "lr": self.lr, "seed": self.seed}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Run:
        """Return the run of a record's row."""
        return cls(rule=row["rule"], size=size_of(row), lr=row["lr"], seed=row["seed"])


def size_of(row: Mapping[str, Any]) -> Size:
    """Return the size of a record's row."""
    return Size(width=row["width"], depth=row["depth"])
