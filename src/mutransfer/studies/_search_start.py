"""The place where the search of a size begins: a law of what smaller sizes found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import Size, varying
from ..statistics import AxisPrior, LawPrior, Start, average_of_laws
from ._search_axes import Axis
from ._values import as_recorded

_SLOPE = AxisPrior(slope=0.0, spread=0.7)
"""Prior of a drift, in octaves per doubling.

It takes no transfer for granted: best rates of the standard parametrization fall by 0.5 to 1.5
octaves per doubling of width.
"""

_LEAST = 0.1
"""Smallest error of an optimum that a law is fitted to, in octaves."""

_TWO_SIDED = 2 * 1.96
"""Width of a 95% interval in standard deviations."""


_ENDS = {
    "edge": ", at an end",
    "diverged": ", as all diverged",
    "failed": ", beside runs that failed",
}


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best of one hyperparameter at one size.

    Attributes:
        value: The best value that was run; None where all diverged.
        place: Its optimum on the scale; NaN for choices and where it is not known.
        low, high: The 95% interval.
        status: That of `Refined`; "choice" for a hyperparameter that has no scale; "failed" where
            runs that failed hide it.
    """

    value: Any
    place: float = math.nan
    low: float = math.nan
    high: float = math.nan
    status: str = "inside"

    @property
    def is_place(self) -> bool:
        """True if the optimum is known with an error."""
        return all(map(math.isfinite, (self.place, self.low, self.high)))

    @property
    def half(self) -> float:
        """Half the width of the interval; NaN where the optimum is not known."""
        return (self.high - self.low) / 2 if self.is_place else math.nan

    def is_within(self, within: float) -> bool:
        """Return True if the optimum is bracketed to within this half width; a choice is."""
        is_chosen = self.status == "choice" and self.value is not None
        return is_chosen or (self.status != "open" and self.half <= within)

    def __str__(self) -> str:
        width = f"±{self.half:.2g}" if self.is_place else "unknown"
        return width + _ENDS.get(self.status, "")


Found = Mapping[Size, Mapping[str, Optimum]]
"""Optima of smaller sizes by hyperparameter."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The value where the search of one hyperparameter begins.

    Attributes:
        value: The value.
        start: Its place, and how far the optimum may lie from it.
    """

    value: Any
    start: Start


def start_at(axis: Axis, smaller: Found, size: Size) -> Expected:
    """Return the law's place of the optimum, or the study's centre at the first size."""
    optima = {each: known[axis.name] for each, known in smaller.items() if axis.name in known}
    if axis.scale == "choice":
        chosen = [best.value for best in optima.values() if best.value is not None]
        values = [value for value in axis.values if chosen and _same(value, chosen[-1])]
        return Expected(value=values[0] if values else axis.centre, start=Start(mean=0.0, sd=1.0))
    low, high = axis.ends
    places = {each: best for each, best in optima.items() if best.is_place}
    if not places:
        spread = max(axis.step, (axis.place(axis.values[-1]) - axis.place(axis.values[0])) / 4)
        return Expected(value=axis.centre, start=Start(mean=axis.place(axis.centre), sd=spread))
    mean, sd = _predicted(places, size)
    value = axis.value(min(max(mean, low), high))
    return Expected(value=value, start=Start(mean=axis.place(value), sd=sd))


def _predicted(optima: Mapping[Size, Optimum], size: Size) -> tuple[float, float]:
    """Return mean and sd of the optimum at a size by an average of laws."""
    axes = varying([*optima, size])
    rows = np.log2([[each[axis] for axis in axes] for each in (*optima, size)])
    errors = [max((best.high - best.low) / _TWO_SIDED, _LEAST) for best in optima.values()]
    law = average_of_laws(
        rows[:-1],
        np.array([best.place for best in optima.values()]),
        np.array(errors),
        LawPrior(axes=(_SLOPE,) * len(axes)),
    )
    expected = law.predict(rows[-1:])
    return float(expected.mean[0]), float(expected.sd[0])


def _same(value: Any, recorded: Any) -> bool:
    return bool(as_recorded(value) == recorded)
