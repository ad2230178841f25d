"""The cost of a hyperparameter that was found at another size."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from ..core import Estimate
from ..statistics import Array, infinite, resamples


def regret(
    grid: Float[Array, " values"],
    losses: Float[Array, "seeds values"],
    position: float,
    samples: Float[Array, " resamples"],
    stream: int = 0,
) -> Estimate:
    """Return the loss at a value less the lowest loss that was run, with its interval.

    Between two values of the grid the loss is the straight line on their scale, which lies above a
    convex loss. The regret is infinite where the value diverges or lies beyond the grid.

    Args:
        grid: Places of the values on their scale, such as log2 of learning rates, ascending.
        losses: Mean training loss; infinite or NaN where a run diverged.
        position: Place of the value.
        samples: Bootstrap samples of it.
        stream: Number of the random sequence, that of the samples where the seeds are the same.
    """
    losses = infinite(losses)
    means = losses[resamples(len(losses), stream=stream)].mean(1)
    excesses = [_excess(grid, mean, x) for x, mean in zip(samples, means, strict=True)]
    # Percentiles that interpolate would make NaN of infinite neighbours: order statistics do not.
    ordered = np.sort(excesses)
    low, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in (0.025, 0.975))
    value = _excess(grid, losses.mean(0), position)
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _excess(grid: Float[Array, " values"], mean: Float[Array, " values"], position: float) -> float:
    """Return the interpolated loss at a place less the lowest of the grid."""
    right = int(np.clip(np.searchsorted(grid, position), 1, len(grid) - 1))
    share = (position - grid[right - 1]) / (grid[right] - grid[right - 1])
    if not 0 <= share <= 1:
        return math.inf
    # A weight of zero is left out: times an infinite loss it would be NaN.
    parts = [
        weight * mean[i] for weight, i in ((1 - share, right - 1), (share, right)) if weight > 0
    ]
    return float(sum(parts) - mean.min())
