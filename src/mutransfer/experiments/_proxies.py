"""A rate found on a small network, used on a large one."""

from __future__ import annotations

import math

from ..core import Estimate
from ..studies import Runs
from ._claim import exactly
from ._quantities import optima

MOVED = "best rate of the large network over the small one's, octaves"
REGRET = "loss of the large network at the small one's best rate, over its lowest, minus 1"


def proxy_values(runs: Runs, rule: str) -> dict[str, Estimate]:
    """Return the best rate's move from smallest to largest network, and the regret.

    Args:
        runs: The record, of two sizes at least.
        rule: One of its rules.
    """
    best = optima(runs, rule)
    small, large = best[0], best[-1]
    ends = (large.low - small.high, large.high - small.low)
    moved = Estimate(value=large.position - small.position, low=ends[0], high=ends[1])
    return {MOVED: moved, REGRET: exactly(_regret(runs, rule))}


def _regret(runs: Runs, rule: str) -> float:
    """Return the large network's excess loss at the small one's best rate, as a share."""
    sizes = runs.sizes(rule)
    best = [runs.best_rate(rule, size) for size in (sizes[0], sizes[-1])]
    if None in best:
        return math.inf
    rates, losses = runs.losses(rule, sizes[-1])
    means = dict(zip(rates, losses.mean(0), strict=True))
    return float(means[best[0]] / means[best[1]] - 1)
