"""Variances of many small samples, moderated by each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, takewhile

import numpy as np

FEWEST = 4
"""Fewest variances that a prior is fitted to."""

_SMALLEST = 1e-8
"""Variances below this are rounding (of logarithms, a relative error of 1e-4), and tell nothing."""


def moderated(variances: Sequence[float], freedoms: Sequence[float]) -> list[tuple[float, float]]:
    """Return variances of the same kind with what all of them tell about each.

    True variances are drawn from a scaled inverse chi-squared prior, whose two parameters are
    fitted to the logarithms of the measured ones (Smyth 2004, Section 6.2). Each posterior mean is
    (d0 s0^2 + d s^2) / (d0 + d), and a t statistic with it has d0 + d degrees of freedom. Where
    true variances differ much, d0 is small and little changes.

    Args:
        variances: Measured variances.
        freedoms: Their degrees of freedom; those with none are left as they are.

    Returns:
        Variance and degrees of freedom of each.
    """
    pairs = list(zip(variances, freedoms, strict=True))
    known = [(variance, d) for variance, d in pairs if d > 0 and variance > _SMALLEST]
    if len(known) < FEWEST:
        return pairs
    prior, d0 = _prior(known)
    return [
        ((d0 * prior + d * variance) / (d0 + d), d0 + d) if d > 0 else (variance, d)
        for variance, d in pairs
    ]


def _prior(known: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the prior variance and its degrees of freedom."""
    logs = np.array([math.log(s) - _digamma(d / 2) + math.log(d / 2) for s, d in known])
    noise = float(np.mean([_trigamma(d / 2) for _, d in known]))
    excess = float(logs.var(ddof=1)) - noise
    # So few variances cannot show that true ones are closer to each other than this.
    d0 = min(2 * _inverse_trigamma(excess), len(known)) if excess > 0 else len(known)
    return math.exp(float(logs.mean()) + _digamma(d0 / 2) - math.log(d0 / 2)), d0


def _digamma(x: float) -> float:
    """Return the derivative of the logarithm of the gamma function, for x > 0."""
    below = sum(1 / y for y in takewhile(lambda y: y < 6, count(x)))
    while x < 6:
        x += 1
    tail = 1 / (12 * x**2) - 1 / (120 * x**4) + 1 / (252 * x**6)
    return math.log(x) - 1 / (2 * x) - tail - below


def _trigamma(x: float) -> float:
    """Return the derivative of digamma, for x > 0."""
    below = sum(1 / y**2 for y in takewhile(lambda y: y < 6, count(x)))
    while x < 6:
        x += 1
    return 1 / x + 1 / (2 * x**2) + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7) + below


def _inverse_trigamma(value: float) -> float:
    """Return where trigamma has this value, by bisection: it falls."""
    low, high = 1e-4, 1e4
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _trigamma(middle) > value else (low, middle)
    return low
