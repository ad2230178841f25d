"""A rate found on a small network, used on a large one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..core import Estimate
from ..studies import Runs, Study
from ._bench import Bench, Measured
from ._claim import Claim, exactly
from ._plots import sweeps
from ._quantities import optima

MOVED = "best rate of the large network over the small one's, octaves"
REGRET = "loss of the large network at the small one's best rate, over its lowest, minus 1"

SCALED, PLAIN = RULES = "sqrt-depth", "sp"
"""Branches times 1/sqrt(depth) with muP, and the wrong rule."""


def proxy_claims(small: str, large: str) -> tuple[Claim, Claim]:
    """Return the claims: the best rate stays, and little is lost at the small one's.

    Args:
        small: What the small network is called.
        large: What the large one is called.
    """
    return (
        Claim(
            says=f"The best rate of {small} is that of the large one.",
            quantity=MOVED,
            rule=SCALED,
            wrong=PLAIN,
            expected=0.0,
            tolerance=0.25,
        ),
        Claim(
            says=f"So {large} loses little where it is trained at the small one's rate.",
            quantity=REGRET,
            rule=SCALED,
            wrong=PLAIN,
            expected=0.02,
            sense="at most",
        ),
    )


def proxy(
    bench: Bench,
    name: str,
    model: Callable[..., nn.Module],
    settings: Mapping[str, Any],
    **more: Any,
) -> Measured:
    """Sweep the rate of a small network and a large one.

    Args:
        bench: The bench.
        name: Title of the picture.
        model: Returns a network of a width and depth.
        settings: The settings of this scale: sizes, rates, seeds, steps.
        more: What else the study takes, such as the task.
    """
    runs = bench.sweep(Study(model, rules=RULES, batch=32, **settings, **more))
    values = {rule: _values(runs, rule) for rule in RULES}
    return Measured(values=values, figure=sweeps({name: runs}))


def _values(runs: Runs, rule: str) -> dict[str, Estimate]:
    """Return the best rate's move from smallest to largest network, and the regret."""
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
