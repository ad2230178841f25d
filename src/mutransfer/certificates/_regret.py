"""The cost of a value that is not the optimum."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from ..core import Estimate
from ..statistics import Array, Posterior

_QUANTILES = 200
"""Quantiles of the distance to the optimum, each with every draw of the curve's shape."""


def expected_regret(
    curve: Posterior, place: float, optima: Float[Array, " draws"]
) -> Estimate:
    """Return the loss of a place above the lowest, in expectation, with its 95% interval.

    The upper end is the bound: the regret is larger with a probability of 2.5%. Where the optimum
    is and what shape the curve around it has are taken as independent.

    Args:
        curve: The curve whose shape is taken.
        place: The value to use, on its scale.
        optima: Draws of the optimum.
    """
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    distances = place - np.quantile(optima, shares)
    excess = curve.excess(distances)
    low, high = np.quantile(excess, (0.025, 0.975))
    value = float(excess.mean())
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def summed(estimates: Iterable[Estimate]) -> Estimate:
    """Return the sum of independent estimates."""
    known = list(estimates)
    value = math.fsum(each.value for each in known)
    low = math.hypot(*(each.value - each.low for each in known))
    high = math.hypot(*(each.high - each.value for each in known))
    return Estimate(value=value, low=max(value - low, 0.0), high=value + high)
