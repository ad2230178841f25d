"""Optimum of networks that were trained on a full grid, from no model of the certificate's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

_FINE = 64
"""Points between two rates at which an interpolated curve is searched for its minimum."""


def interpolated(x: Array, y: Array, at: Array) -> Array:
    """Return Akima's modified cubic interpolation of values at ascending places.

    Slopes are weighted by |m1 - m0| + |m1 + m0| / 2 (Akima 1970, as MATLAB's makima), so that a
    cliff beside the optimum bends the curve on its other side but little.
    """
    if len(x) < 3:
        return np.interp(at, x, y)
    slopes = np.diff(y) / np.diff(x)
    # Two slopes more at either end continue the curve by a parabola.
    first, last = 2 * slopes[0] - slopes[1], 2 * slopes[-1] - slopes[-2]
    slopes = np.concatenate([[2 * first - slopes[0], first], slopes, [last, 2 * last - slopes[-1]]])
    weights = np.abs(np.diff(slopes)) + np.abs(slopes[1:] + slopes[:-1]) / 2 + 1e-12
    before, after = weights[2:], weights[:-2]
    at_knots = (before * slopes[1:-2] + after * slopes[2:-1]) / (before + after)
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    width = (x[1:] - x[:-1])[piece]
    t = (at - x[piece]) / width
    low, high = y[piece], y[piece + 1]
    left, right = at_knots[piece] * width, at_knots[piece + 1] * width
    return np.asarray(
        low * (1 + 2 * t) * (1 - t) ** 2
        + high * t**2 * (3 - 2 * t)
        + left * t * (1 - t) ** 2
        - right * t**2 * (1 - t)
    )


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Mean losses of a target's own runs.

    Attributes:
        places: Log2 of the rates, ascending.
        losses: Losses (seeds, places); infinite where training diverged.
    """

    places: Array
    losses: Array

    @property
    def bracketed(self) -> bool:
        """True if the lowest mean is not at an end of the grid."""
        best = int(np.argmin(self.losses.mean(0)))
        return 0 < best < len(self.places) - 1

    @cached_property
    def optimum(self) -> tuple[float, float]:
        """Log2 of the best rate, and the mean loss there."""
        return _lowest(self.places, self.losses.mean(0))

    @property
    def at_cliff(self) -> bool:
        """True if a seed diverged at the next rate: the optimum may lie up to one step higher."""
        means = self.losses.mean(0)
        return not np.isfinite(means[int(np.argmin(means)) + 1 :][:1]).all()

    @property
    def error(self) -> float:
        """Standard error of the optimum over seeds, by the jackknife."""
        number = len(self.losses)
        without = np.array(
            [_lowest(self.places, np.delete(self.losses, i, 0).mean(0))[0] for i in range(number)]
        )
        return float(np.sqrt((number - 1) / number * np.sum((without - without.mean()) ** 2)))

    def regret(self, place: float) -> float:
        """Return the loss at a rate, by interpolation, above the lowest.

        Infinite beyond the grid and where any seed diverged at one of the two rates around it.
        """
        x, y = _finite(self.places, self.losses.mean(0))
        if not x[0] <= place <= x[-1]:
            return float("inf")
        return max(0.0, float(interpolated(x, y, np.array([place]))[0]) - self.optimum[1])


def _finite(places: Array, means: Array) -> tuple[Array, Array]:
    """Return the stretch around the lowest mean in which nothing diverged."""
    best = int(np.argmin(means))
    gaps = np.flatnonzero(~np.isfinite(means))
    start = max([gap + 1 for gap in gaps if gap < best], default=0)
    end = min([gap for gap in gaps if gap > best], default=len(means))
    return places[start:end], means[start:end]


def _lowest(places: Array, means: Array) -> tuple[float, float]:
    """Return the place of the lowest value of the interpolated curve, and the value."""
    x, y = _finite(places, means)
    fine = np.linspace(x[0], x[-1], (len(x) - 1) * _FINE + 1)
    curve = interpolated(x, y, fine)
    best = int(np.argmin(curve))
    return float(fine[best]), float(curve[best])
