"""Mixtures of normal distributions: cumulative probabilities and quantiles."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from ._arrays import Array

_REACH = 10.0
"""Standard deviations around every part within which a quantile is sought."""

_HALVINGS = 26


def normal_below(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the cumulative standard normal distribution, to 1.5e-7.

    The approximation 7.1.26 of Abramowitz and Stegun, as numpy has no error function.
    """
    t = 1 / (1 + 0.3275911 * np.abs(x) / math.sqrt(2))
    powers = np.polyval([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0], t)
    tail = powers * np.exp(-(x**2) / 2) / 2
    return np.asarray(np.where(x > 0, 1 - tail, tail))


def below(
    weights: Float[Array, " parts"],
    means: Float[Array, "parts targets"],
    sds: Float[Array, "parts targets"],
    places: Float[Array, "*places"],
) -> Float[Array, "*places targets"]:
    """Return the probability that each target's mixture lies below some places."""
    scaled = (places[..., None, :] - means) / sds
    return np.asarray(np.einsum("k,...km->...m", weights, normal_below(scaled)))


def quantiles(
    weights: Float[Array, " parts"],
    means: Float[Array, "parts targets"],
    sds: Float[Array, "parts targets"],
    probability: float,
) -> Float[Array, " targets"]:
    """Return a quantile of each target's mixture, by bisection."""
    low = (means - _REACH * sds).min(0)
    high = (means + _REACH * sds).max(0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = weights @ normal_below((middle - means) / sds) < probability
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray((low + high) / 2)


def moments(
    weights: Float[Array, " parts"],
    means: Float[Array, "parts targets"],
    sds: Float[Array, "parts targets"],
) -> tuple[Float[Array, " targets"], Float[Array, " targets"]]:
    """Return mean and standard deviation of each target's mixture."""
    mean = weights @ means
    return mean, np.sqrt(weights @ (sds**2 + (means - mean) ** 2))
