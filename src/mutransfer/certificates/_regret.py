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


def target_regrets(
    curve: Posterior, place: float, optima: Float[Array, " draws"]
) -> Float[Array, " draws"]:
    """Return draws of the loss of a place above the lowest.

    Where the optimum is, and what shape the curve around it has, are taken as independent.

    Args:
        curve: The curve whose shape is taken.
        place: The value to use, on its scale.
        optima: Draws of the optimum.
    """
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return curve.excess(place - np.quantile(optima, shares)).ravel()


def expected(draws: Float[Array, " draws"]) -> Estimate:
    """Return the mean of draws, and their 95% interval; its end is the bound."""
    low, high = np.quantile(draws, (0.025, 0.975))
    value = float(draws.mean())
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def summed(estimates: Iterable[Estimate]) -> Estimate:
    """Return the sum of independent estimates."""
    known = list(estimates)
    value = math.fsum(each.value for each in known)
    low = math.hypot(*(each.value - each.low for each in known))
    high = math.hypot(*(each.high - each.value for each in known))
    return Estimate(value=value, low=max(value - low, 0.0), high=value + high)
