"""The minimum of a curve that was measured on a grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._divergence import infinite


def vertex(
    grid: Float[Array, " values"], losses: Float[Array, "*samples values"]
) -> Float[Array, "*samples"]:
    """Return the vertex of the parabola through the lowest loss and its neighbours.

    A neighbour that diverged counts as an infinite loss: in that limit the minimum lies halfway to
    the other neighbour. A lowest loss at the edge of the grid is returned as it is.

    Args:
        grid: At least three values, ascending, such as log2 of the learning rate.
        losses: The loss at each of them; infinite or NaN where training diverged.
    """
    losses = infinite(losses)
    best = np.argmin(losses, axis=-1)
    inner = np.clip(best, 1, len(grid) - 2)
    left, middle, right = (
        np.take_along_axis(losses, (inner + shift)[..., None], -1)[..., 0] for shift in (-1, 0, 1)
    )
    x_left, x, x_right = (grid[inner + shift] for shift in (-1, 0, 1))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        slope_left, slope_right = (middle - left) / (x - x_left), (right - middle) / (x_right - x)
        weight = slope_right / (slope_right - slope_left)
    right_finite = np.where(np.isinf(left), 0.0, weight)
    right_infinite = np.where(np.isinf(left), 0.5, 1.0)
    weight = np.where(np.isinf(right), right_infinite, right_finite)
    # Equal losses leave 0/0: the parabola is flat, and the middle is as good as any.
    weight = np.where(np.isfinite(weight), weight, 0.5)
    fitted = weight * (x_left + x) / 2 + (1 - weight) * (x + x_right) / 2
    return np.asarray(np.where(best == inner, fitted, grid[best]))


def edge(losses: Float[Array, " values"]) -> Literal["low", "high"] | None:
    """Return the end of the grid that has the lowest loss, None where it lies inside.

    All diverged counts as low: smaller rates are what is missing. NaN counts as diverged.
    """
    losses = infinite(losses)
    if not np.isfinite(losses).any():
        return "low"
    best = int(np.argmin(losses))
    if best == 0:
        return "low"
    return "high" if best == len(losses) - 1 else None
