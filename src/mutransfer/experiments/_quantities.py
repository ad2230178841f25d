"""Quantities that many experiments measure: drifts, regrets, slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..certificates import Choice, Optimum, Refusal, Transfer, optimum, positions, transfer
from ..core import Estimate, MutransferError, Size
from ..statistics import power_law, student_t
from ..studies import Runs, scale_of
from ._claim import exactly

DRIFT = "drift of the best rate, octaves per doubling of {axis}"
"""Name of the quantity that most claims are about, as `DRIFT.format(axis="width")`."""


FEWEST_INSIDE = 2
"""Optima inside the sweep from which a drift is known."""


def optima(runs: Runs, rule: str, over: str = "lr") -> tuple[Optimum, ...]:
    """Return the optima of a rule at every size, also those at the edge of the sweep.

    Args:
        runs: The record.
        rule: One of its rules.
        over: The hyperparameter.
    """
    return tuple(_optimum(runs, rule, size, over) for size in runs.sizes(rule))


def _optimum(runs: Runs, rule: str, size: Size, over: str) -> Optimum:
    """Return the optimum of a size; at an edge, that edge and all that lies beyond."""
    values, losses = runs.losses(rule, size, over)
    scale = scale_of(over, values)
    try:
        return optimum(rule, size, values, losses, over=over, scale=scale)[0]
    except MutransferError:
        means, places = losses.mean(0), positions(values, scale)
        best = int(np.argmin(means))
        return Optimum(
            size=size,
            position=float(places[best]),
            low=float(places[best]) if best else -math.inf,
            high=math.inf if best else float(places[0]),
            loss=float(means[best]),
            diverged=float(np.isinf(losses).mean()),
            scale=scale,
            status="edge",
        )


def drift(runs: Runs, rule: str, axis: str, over: str = "lr") -> Estimate:
    """Return how far a rule's optimum moves per doubling of an axis, in octaves.

    Args:
        runs: The record.
        rule: One of its rules.
        axis: The axis, such as "width".
        over: The hyperparameter.
    """
    found = transfer(runs)
    each = next(one for one in (found, *found.others) if one.over == over)
    return drift_of(runs, each[rule], axis)


def drift_of(runs: Runs, outcome: Transfer | Choice | Refusal, axis: str) -> Estimate:
    """Return the drift of a certificate, or of the optima where it is refused.

    Where an optimum lies at the edge of the sweep, the slope of all optima is the least that the
    drift may be. It is missing (NaN) unless two optima lie inside: edges alone stay by themselves.

    Args:
        runs: The record.
        outcome: What was found for one rule and hyperparameter.
        axis: The axis, such as "width".
    """
    if isinstance(outcome, Transfer) and axis in outcome.drift:
        return outcome.drift[axis]
    best = optima(runs, outcome.rule, outcome.over)
    if sum(one.status != "edge" for one in best) < FEWEST_INSIDE:
        return exactly(math.nan)
    return slope([one.size[axis] for one in best], [one.position for one in best])


def slope(sizes: Sequence[float], values: Sequence[float]) -> Estimate:
    """Return the change of values per doubling of sizes, with its interval."""
    return _fit(sizes, np.exp2(np.array(values, dtype=float)))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> Estimate:
    """Return the exponent of positive values in sizes, with its interval."""
    return _fit(sizes, np.array(values, dtype=float))


def _fit(sizes: Sequence[float], values: np.ndarray) -> Estimate:
    law = power_law(np.array(sizes, dtype=float), values)
    value, half = law.exponents[0], law.half_interval()
    return Estimate(value=value, low=value - half, high=value + half)


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean of seeds, with its 95% interval by Student's t."""
    numbers, count = np.array(values, dtype=float), len(values)
    value = float(numbers.mean())
    if count < 2 or not math.isfinite(value):
        return exactly(value)
    half = float(numbers.std(ddof=1)) / math.sqrt(count) * student_t(count - 1)
    return Estimate(value=value, low=value - half, high=value + half)
