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
