"""The cost of carrying the smallest size's best rate to the largest."""

from __future__ import annotations

from ..core import Estimate
from ..studies import Runs
from ._claim import exactly

CARRIED = "excess loss of the largest network at the smallest one's best rate, in nats"
"""Name of the quantity."""


def carried(runs: Runs, rule: str) -> Estimate:
    """Return the excess loss at the largest size of the smallest one's best rate.

    Args:
        runs: The record, of sizes along one axis.
        rule: One of its rules.
    """
    sizes = runs.sizes(rule)
    first, last = (runs.losses(rule, size)[1].mean(0) for size in (sizes[0], sizes[-1]))
    return exactly(float(last[first.argmin()] - last.min()))
