"""The bootstrap over seeds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from ..core import Estimate
from ._arrays import Array, Indices

RESAMPLES = 1000
CONFIDENCE = 0.95


def resamples(
    seeds: int, count: int = RESAMPLES, stream: int = 0
) -> Int[Indices, "resamples seeds"]:
    """Return bootstrap samples of the seeds, the same on every call.

    Args:
        seeds: Number of seeds.
        count: Number of samples.
        stream: Number of the sequence; different ones are independent.
    """
    return np.random.default_rng(stream).integers(seeds, size=(count, seeds))


def interval(samples: Float[Array, " resamples"]) -> tuple[float, float]:
    """Return the 95% interval of bootstrap samples, by percentiles.

    With few seeds it is too narrow: three seeds have ten different samples.
    """
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def estimate(value: float, samples: Float[Array, " resamples"]) -> Estimate:
    """Return a number with its bootstrap interval, widened to hold the number."""
    low, high = interval(samples)
    return Estimate(value=float(value), low=min(low, float(value)), high=max(high, float(value)))
