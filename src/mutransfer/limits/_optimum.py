"""The best value of a hyperparameter, searched for between the values given.

A parabola through losses an octave apart does not place the optimum: near the rate at which
training diverges losses rise a hundredfold, and the vertex lies half-way to the other neighbour
whatever they are. So the distances about the lowest loss are halved, and solved at each half.

Axes: values of the hyperparameter.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..statistics import Array, edge
from ._landscape import is_logarithmic

FINEST = 64
"""Parts of the distance of given values to which an exact optimum is settled."""

MOST = 12
"""Most values that settle an exact optimum: six halvings to both sides."""

ROUNDING = 1 + 1e-6
"""Factor of distances, which are compared up to the rounding of their places."""


def best_value(values: Float[Array, " values"], losses: Float[Array, " values"]) -> float | None:
    """Return the value of lowest loss; None at the edge of the values.

    Args:
        values: Values, ascending.
        losses: Losses; infinite where training diverges, NaN where they are unknown.
    """
    known = ~np.isnan(losses)
    values, losses = values[known], losses[known]
    if len(values) < 3 or edge(losses):
        return None
    return float(values[np.argmin(losses)])


def unsettled(
    scale: Scale, values: Float[Array, " values"], losses: Float[Array, " values"]
) -> float | None:
    """Return the value to solve next; None if the optimum is settled or at the edge.

    Both distances about the lowest loss are halved in turn, so that a second minimum between the
    same neighbours is seen before the first is settled.

    Args:
        scale: The scale of the values that were given.
        values: All values so far, ascending.
        losses: Their losses.
    """
    if best_value(values, losses) is None:
        return None
    best = int(np.argmin(losses))
    left, right = np.diff(scale.places(values[best - 1 : best + 2]))
    if max(left, right) <= ROUNDING * scale.spacing(values[best]) / FINEST:
        return None
    first = best - 1 if left > ROUNDING * right else best
    return scale.middle(values[first], values[first + 1])


class Scale:
    """The scale of a hyperparameter, on which distances of its values are compared.

    Args:
        grid: The values that were given, ascending.
    """

    def __init__(self, grid: Float[Array, " values"]) -> None:
        self.logarithmic = is_logarithmic(grid)
        self.grid = self.places(grid)

    def places(self, values: Float[Array, "*values"] | float) -> Float[Array, "*values"]:
        """Return values on the scale."""
        return np.asarray(np.log2(values) if self.logarithmic else values)

    def middle(self, low: float, high: float) -> float:
        """Return the value half-way between two."""
        place = float(self.places(low) + self.places(high)) / 2
        return 2.0**place if self.logarithmic else place

    def spacing(self, value: float) -> float:
        """Return the distance of the given values about this one."""
        right = int(np.searchsorted(self.grid, self.places(value)))
        right = min(max(right, 1), len(self.grid) - 1)
        return float(self.grid[right] - self.grid[right - 1])
