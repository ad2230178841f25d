"""The cost of a rate that was found at another size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..core import Estimate
from ..statistics import Array, infinite, resamples


def regret(
    rates: Sequence[float],
    losses: Float[Array, "seeds rates"],
    log2_lr: float,
    samples: Float[Array, " resamples"],
) -> Estimate:
    """Return the loss at a rate less the lowest loss that was run, with its interval.

    Between two rates of the grid the loss is the straight line in log2(rate), which lies above a
    convex loss. The regret is infinite where the rate diverges or lies beyond the grid.

    Args:
        rates: Learning rates, ascending.
        losses: Mean training loss; infinite or NaN where a run diverged.
        log2_lr: Log2 of the rate.
        samples: Bootstrap samples of it, over the same seeds.
    """
    losses = infinite(losses)
    grid = np.log2(np.array(rates))
    means = losses[resamples(len(losses))].mean(1)
    excesses = [_excess(grid, mean, x) for x, mean in zip(samples, means, strict=True)]
    # Percentiles that interpolate would make NaN of infinite neighbours: order statistics do not.
    ordered = np.sort(excesses)
    low, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in (0.025, 0.975))
    value = _excess(grid, losses.mean(0), log2_lr)
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _excess(grid: Float[Array, " rates"], mean: Float[Array, " rates"], log2_lr: float) -> float:
    """Return the interpolated loss at a rate less the lowest of the grid."""
    right = int(np.clip(np.searchsorted(grid, log2_lr), 1, len(grid) - 1))
    share = (log2_lr - grid[right - 1]) / (grid[right] - grid[right - 1])
    if not 0 <= share <= 1:
        return math.inf
    # A weight of zero is left out: times an infinite loss it would be NaN.
    parts = [
        weight * mean[i] for weight, i in ((1 - share, right - 1), (share, right)) if weight > 0
    ]
    return float(sum(parts) - mean.min())
