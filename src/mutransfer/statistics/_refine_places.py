"""Places that may be measured next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array

FRACTION = 8
"""Free places are multiples of the step divided by this, so that curves share places."""

NEAR = 4
"""Steps around a wanted place in which a free one is sought."""

_EXACT = 1e-6
"""Places closer than this share of a step are the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """Places that may be measured, less those that were.

    Attributes:
        allowed: The only places; None: multiples of an eighth of the step, and the bounds.
        low, high: Bounds.
        step: First spacing.
        gap: Least distance from a measured place.
        taken: Measured and chosen places.
    """

    allowed: Float[Array, " n"] | None
    low: float
    high: float
    step: float
    gap: float
    taken: tuple[float, ...]

    def nearest(self, wanted: float, low: float = -np.inf, high: float = np.inf) -> float | None:
        """Return the free place in a range nearest to a wanted one, None if there is none."""
        low, high = max(low, self.low), min(high, self.high)
        places = self._places(min(max(wanted, low), high))
        exact = _EXACT * self.step
        inside = places[(places >= low - exact) & (places <= high + exact)]
        if self.taken:
            distance = np.abs(inside[:, None] - np.array(self.taken)).min(1)
            # A taken place is never free, however small the gap is.
            inside = inside[distance >= max(self.gap - exact, exact)]
        if not len(inside):
            return None
        return float(inside[np.argmin(np.abs(inside - wanted))])

    def without(self, *places: float) -> Field:
        """Return the field with more places taken."""
        return Field(
            allowed=self.allowed,
            low=self.low,
            high=self.high,
            step=self.step,
            gap=self.gap,
            taken=(*self.taken, *places),
        )

    def _places(self, wanted: float) -> Float[Array, " n"]:
        if self.allowed is not None:
            return self.allowed
        unit = self.step / FRACTION
        around = unit * (np.round(wanted / unit) + np.arange(-NEAR * FRACTION, NEAR * FRACTION + 1))
        ends = [end for end in (self.low, self.high) if np.isfinite(end)]
        return np.concatenate([around, ends])


def around(field: Field, centre: float) -> tuple[float, ...]:
    """Return a centre and its sides, both on one side where the other has none."""
    chosen: list[float] = []
    # The fourth and fifth are tried where one of the first three does not exist.
    for steps in (0, -1, 1, -2, 2):
        if len(chosen) == 3:
            break
        apart = field.without(*chosen)
        target = (chosen[0] if chosen else centre) + steps * field.step
        half = 0.5 * field.step if chosen else np.inf
        place = apart.nearest(target, target - half, target + half)
        if place is not None:
            chosen.append(place)
    return tuple(sorted(chosen))
