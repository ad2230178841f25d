"""Student's t."""

from __future__ import annotations

import math

_QUANTILES = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09),
)


def student_t(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t, to two decimals.

    Fractions are interpolated in 1 / freedom. Above 20 degrees of freedom it is taken as 2.

    Args:
        freedom: Degrees of freedom, at least 1.

    >>> student_t(1), student_t(50)
    (12.71, 2.0)
    """
    if freedom > len(_QUANTILES):
        return 2.0
    below = math.floor(freedom)
    low, high = _QUANTILES[below - 1], (*_QUANTILES, 2.0)[below]
    share = (1 / below - 1 / freedom) / (1 / below - 1 / (below + 1))
    return low + share * (high - low)


def student_chance(ratio: float, freedom: int) -> float:
    """Return the probability that Student's t is at least so large, either sign.

    A finite series: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Args:
        ratio: A mean over its standard error.
        freedom: Degrees of freedom, at least 1.

    >>> round(student_chance(12.706, 1), 4), round(student_chance(2.228, 10), 4)
    (0.05, 0.05)
    """
    if math.isinf(ratio):
        return 0.0
    angle = math.atan(abs(ratio) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for number in range(odd + 1, freedom, 2):
        total += term
        term *= cosine**2 * number / (number + 1)
    if odd:
        return 1.0 - 2 / math.pi * (angle + sine * total)
    return 1.0 - sine * total
