"""Student's t."""

from __future__ import annotations

_QUANTILES = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09),
)


def student_t(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, to two decimals.

    Above 20 degrees of freedom it is taken as 2.

    Args:
        freedom: Degrees of freedom, at least 1.

    >>> student_t(1), student_t(50)
    (12.71, 2.0)
    """
    return _QUANTILES[freedom - 1] if freedom <= len(_QUANTILES) else 2.0
