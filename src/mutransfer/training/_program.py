"""Programs: the ways in which members of one shape can be trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core import MutransferError, parsing


@dataclass(frozen=True, kw_only=True)
class Program:
    """A way to train members of one shape.

    Losses are the same in all of them to rounding.

    Attributes:
        slots: Members that train at once, as one vectorised step; the others wait until one ends.
            None for all of them, 1 for an ordinary loop over members.
        compiled: True to compile gradient and update into one program (torch.compile).
        shrink: Fewest steps left for which a compiled program with half of its slots empty is
            compiled again for half of them; None for never.
        threads: Threads that share a step, as far as torch has so many; None for one where
            tensors are small, and all where they are large.
    """

    slots: int | None = None
    compiled: bool = False
    shrink: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("slots", "shrink", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MutransferError(f"{name} of a program is {value}: give at least 1")

    def __str__(self) -> str:
        way = "one after the other" if self.slots == 1 else f"{self.slots or 'all'} at once"
        threads = f", on {self.threads} threads" if self.threads else ""
        return f"{way}, {'compiled' if self.compiled else 'not compiled'}{threads}"

    def places(self, members: int) -> int:
        """Return the places that train; those of a compiled program may be empty.

        >>> Program(slots=8, compiled=True).places(9), Program(slots=8).places(9)
        (16, 9)
        """
        slots = self.slots or members
        return math.ceil(members / slots) * slots if self.compiled and members else members

    def to_json(self) -> dict[str, Any]:
        """Return the program as data."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Program:
        """Return the program that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a program written by Program.to_json"):
            return cls(**data)
