"""The losses of paired seeds: usable values, their means, differences of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ._arrays import Array
from ._divergence import infinite

DIGITS = 5
"""Most digits of a rounded loss: of single precision, more are digits of any loss."""

FEWEST_ROUNDED = 3
"""Fewest values from which it is read that losses are rounded."""

FEWEST_WHOLE = 3
"""Fewest values with all seeds from which the seeds' own noise is taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Paired:
    """Losses of seeds, each seed's offset removed where some of its runs diverged.

    Attributes:
        usable: Values whose mean loss can be compared.
        low, high: Bounds of the optimum from diverged values; infinite where there are none.
        mean: Mean over seeds; zero where not usable.
        contrasts: Orthonormal differences of seeds; zero where not usable.
        total: Sd over seeds of a run's loss at the value of lowest mean; NaN for one seed.
        counts: Seeds in the mean of every value; one where not usable.
        whole: Usable values that all seeds were run at, which alone show how seeds differ.
        rounding: Sd of the error of losses that are rounded to a decimal; zero for others.
    """

    usable: Bool[Any, " values"]
    low: float
    high: float
    mean: Float[Array, " values"]
    contrasts: Float[Array, "contrasts values"]
    total: float
    counts: Float[Array, " values"]
    whole: Bool[Any, " values"]
    rounding: float

    @property
    def is_lone(self) -> bool:
        """True if too few values show how seeds differ."""
        return not len(self.contrasts) or int(self.whole.sum()) < min(
            FEWEST_WHOLE, int(self.usable.sum())
        )


def paired(
    places: Float[Array, " values"],
    losses: Float[Array, "seeds values"],
    run: Bool[Any, "seeds values"] | None = None,
) -> Paired:
    """Return the usable values, their means and the bounds from diverged ones.

    Values from an end inwards at which any seed diverged bound the optimum, and so do the nearest
    ones at which half of the seeds did. Elsewhere a diverged run is left out and the seed's offset
    taken from its other runs, so that one broken run does not hide an optimum.

    Args:
        places: The values.
        losses: Losses; not finite where training diverged.
        run: False where a seed was not run, which says nothing; None: all were.
    """
    losses = infinite(losses)
    run = np.ones(losses.shape, dtype=bool) if run is None else np.asarray(run)
    finite = np.isfinite(losses) & run
    usable, low, high = _bounded(places, losses, finite, run)
    filled = additive(np.where(finite, losses, 0.0), finite & usable)
    seeds = len(losses)
    mean = np.where(usable, filled.mean(0), 0.0)
    whole = usable & run.all(0)
    best = int(np.argmin(np.where(whole if whole.any() else usable, mean, np.inf)))
    contrasts = np.where(usable, _helmert(seeds) @ filled, 0.0)
    total = np.nan
    if seeds > 1 and whole.any():
        total = float(np.sqrt((contrasts[:, best] ** 2).mean()))
    counts = np.where(usable, finite.sum(0), 1).astype(float)
    return Paired(
        usable=usable,
        low=low,
        high=high,
        mean=mean,
        contrasts=contrasts,
        total=total,
        counts=counts,
        whole=whole,
        rounding=_rounding(losses[finite & usable]) if usable.sum() >= FEWEST_ROUNDED else 0.0,
    )


def _rounding(losses: Float[Array, " runs"]) -> float:
    """Return the sd of rounding to the coarsest decimal that divides all losses."""
    most = np.abs(losses).max(initial=0.0)
    if most == 0:
        return 0.0
    units = 10.0 ** (np.floor(np.log10(most)) - np.arange(DIGITS))
    errors = losses - units[:, None] * np.round(losses / units[:, None])
    # Tables hold losses in single precision, too.
    divides = (np.abs(errors) <= 2 * np.finfo(np.float32).eps * most).all(1)
    return float(units[divides].max(initial=0.0)) / math.sqrt(12)


def _bounded(
    places: Float[Array, " values"],
    losses: Float[Array, "seeds values"],
    finite: Bool[Any, "seeds values"],
    run: Bool[Any, "seeds values"],
) -> tuple[Bool[Any, " values"], float, float]:
    """Return the usable values and the bounds."""
    diverged = run & ~finite
    any_diverged, most = diverged.any(0), diverged.sum(0) >= 0.5 * run.sum(0)
    from_low = np.logical_and.accumulate(any_diverged)
    from_high = np.logical_and.accumulate(any_diverged[::-1])[::-1]
    barred = most | from_low | from_high
    if barred.all():
        return ~barred, -np.inf, np.inf
    losses = np.where(finite, losses, 0.0)
    if run.all():
        means = losses.sum(0) / np.maximum(finite.sum(0), 1)
    else:
        means = additive(losses, finite).mean(0)
    best = int(np.argmin(np.where(barred, np.inf, means)))
    below, above = np.flatnonzero(barred[:best]), best + np.flatnonzero(barred[best:])
    first = below[-1] + 1 if len(below) else 0
    last = above[0] if len(above) else len(places)
    usable = np.zeros(len(places), dtype=bool)
    usable[first:last] = True
    low = float(places[first - 1]) if len(below) else -np.inf
    high = float(places[last]) if len(above) else np.inf
    return usable, low, high


def additive(
    losses: Float[Array, "seeds values"], present: Bool[Any, "seeds values"]
) -> Float[Array, "seeds values"]:
    """Return losses with holes filled by the sum of a seed's and a value's effect."""
    if present[:, present.any(0)].all():
        return losses
    seed, value = np.zeros((len(losses), 1)), np.zeros((1, losses.shape[1]))
    for _ in range(20):
        value = _mean(losses - seed, present, 0)
        seed = _mean(losses - value, present, 1)
    return np.where(present, losses, seed + value)


def _mean(values: Array, present: Bool[Any, "seeds values"], axis: int) -> Array:
    counts = np.maximum(present.sum(axis, keepdims=True), 1)
    return np.asarray((values * present).sum(axis, keepdims=True) / counts)


def _helmert(seeds: int) -> Float[Array, "contrasts seeds"]:
    """Return orthonormal contrasts: each seed against the mean of those before it."""
    contrasts = np.tril(np.ones((seeds - 1, seeds)), 0)
    rows = np.arange(1, seeds)
    contrasts[rows - 1, rows] = -rows
    return np.asarray(contrasts / np.sqrt(rows * (rows + 1.0))[:, None])
