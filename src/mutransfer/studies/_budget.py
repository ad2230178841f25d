"""The budget of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from ..core import MutransferError
from ._run import Run
from ._study import Study


@dataclass(frozen=True)
class Budget:
    """The most that the runs of a search may cost together.

    Args:
        amount: How much.
        unit: What is counted: "runs", optimizer "steps", or a function that returns the cost of a
            run.
    """

    amount: float
    unit: Literal["runs", "steps"] | Callable[[Study, Run], float] = "runs"

    def __post_init__(self) -> None:
        if not self.amount > 0 or math.isnan(self.amount):
            raise MutransferError(f"the budget is {self.amount}: give a positive number")
        if not callable(self.unit) and self.unit not in ("runs", "steps"):
            raise MutransferError(
                f"the unit of the budget is {self.unit!r}: give 'runs', 'steps', or a function "
                "(study, run) -> cost"
            )

    def costs(self, study: Study, runs: Sequence[Run]) -> list[float]:
        """Return the cost of each run with all before it."""
        return list(accumulate(self._cost(study, run) for run in runs))

    def _cost(self, study: Study, run: Run) -> float:
        if callable(self.unit):
            return float(self.unit(study, run))
        return 1.0 if self.unit == "runs" else float(study.length(run))


def as_budget(given: Budget | float | None) -> Budget | None:
    """Return a budget; a number counts runs."""
    return Budget(given) if isinstance(given, int | float) else given
