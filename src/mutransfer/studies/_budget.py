"""The budget of a search."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..core import MutransferError
from ._run import Run
from ._study import Study

Unit = Literal["runs", "steps", "flops", "seconds"]
"""Quantities that a budget counts."""

UNITS = ("runs", "steps", "flops", "seconds")

_WORDS: dict[str, tuple[Unit, float]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("d", "day", "days"), ("seconds", 86400.0)),
    **dict.fromkeys(("run", "runs"), ("runs", 1.0)),
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("flop", "flops"), ("flops", 1.0)),
    "teraflops": ("flops", 1e12),
    "petaflops": ("flops", 1e15),
    "exaflops": ("flops", 1e18),
}

_UNDERSTOOD = "10m, 2h, 90s, 40runs, 5000steps, or FLOPs as 1e15"


@dataclass(frozen=True)
class Budget:
    """The most that the runs of a search may cost together.

    Args:
        amount: The amount.
        unit: What is counted: "runs", optimizer "steps", "flops", "seconds" on this machine, or a
            function that returns the cost of a run.
    """

    amount: float
    unit: Unit | Callable[[Study, Run], float] = "runs"

    def __post_init__(self) -> None:
        if not self.amount > 0 or math.isnan(self.amount):
            raise MutransferError(f"the budget is {self.amount}: give a positive number")
        if not callable(self.unit) and self.unit not in UNITS:
            raise MutransferError(
                f"the unit of the budget is {self.unit!r}: give "
                f"{', '.join(map(repr, UNITS))}, or a function (study, run) -> cost"
            )

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget that a text means.

        >>> Budget.parse("10m"), Budget.parse("40 runs").unit, Budget.parse("1e15").unit
        (Budget(amount=600.0, unit='seconds'), 'runs', 'flops')

        Raises:
            MutransferError: the text is no budget.
        """
        match = re.fullmatch(r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*", text)
        word = match.group(2) if match else ""
        # A capital M may be meant as mega.
        known = _WORDS.get(word if len(word) == 1 else word.lower())
        try:
            amount = float(match.group(1)) if match else math.nan
        except ValueError:
            amount = math.nan
        if math.isnan(amount) or (word and known is None):
            raise MutransferError(
                f"the budget {text!r} is not understood: write it as {_UNDERSTOOD}"
            )
        unit, factor = known or ("flops", 1.0)
        if known is None and "e" not in text.lower():
            # Nobody counts runs or minutes in powers of ten.
            raise MutransferError(f"the budget {text!r} has no unit: write it as {_UNDERSTOOD}")
        return cls(amount * factor, unit)

    def says(self, amount: float) -> str:
        """Return an amount in the unit of the budget, in words.

        >>> Budget(1).says(40), Budget(1, "seconds").says(90), Budget(1, "flops").says(1.5e12)
        ('40 runs', '90 s', '1.5e+12 FLOPs')
        """
        if self.unit == "seconds":
            return duration(amount)
        if self.unit == "flops":
            return f"{amount:.3g} FLOPs"
        name = self.unit if isinstance(self.unit, str) else "by the given function"
        return f"{amount:,.0f} {name}" if amount == round(amount) else f"{amount:,.4g} {name}"

    def written(self, amount: float) -> str:
        """Return an amount, rounded up, as `parse` takes it.

        >>> Budget(1).written(3.2), Budget(1, "seconds").written(61.1)
        ('4runs', '62s')
        >>> Budget(1, "flops").written(1.234e9), Budget(1, "seconds").written(1e4)
        ('1.3e+09', '167m')
        """
        if self.unit == "flops":
            scale = 10.0 ** (math.floor(math.log10(amount)) - 1)
            return f"{math.ceil(amount / scale) * scale:.1e}"
        if self.unit == "seconds":
            minutes = amount > 600
            return f"{math.ceil(amount / 60)}m" if minutes else f"{math.ceil(amount)}s"
        return f"{math.ceil(amount)}{self.unit if isinstance(self.unit, str) else ''}"

    def __str__(self) -> str:
        return self.says(self.amount)

    def to_json(self) -> dict[str, Any]:
        """Return the budget as data, a function by its name."""
        unit = self.unit if isinstance(self.unit, str) else getattr(self.unit, "__name__", "")
        return {"amount": self.amount, "unit": unit}


class Limit(Protocol):
    """A budget that knows the price of every run."""

    @property
    def amount(self) -> float:
        """The amount."""
        ...

    def costs(self, study: Study, runs: Sequence[Run]) -> list[float]:
        """Return the cost of each run with all before it."""
        ...


def as_budget(given: Budget | float | str | None) -> Budget | None:
    """Return a budget; a number counts runs, a text has a unit."""
    if isinstance(given, str):
        return Budget.parse(given)
    return Budget(given) if isinstance(given, int | float) else given


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(7.25), duration(90), duration(5400), duration(90000)
    ('7.2 s', '90 s', '90 min', '25 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 4 * 3600 else f"{seconds / 3600:.0f} h"
