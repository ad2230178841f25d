"""Expected gains of one more place and of one more seed on a curve.

Both are found by the same posterior on losses that are expected, so that one model decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._paired import paired
from ._posterior import Posterior, posterior

FEWEST, MOST = 3, 5
"""Fewest and most places at which another seed is run."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Expected narrowing of an interval.

    Attributes:
        place: The most useful place, None if there is none.
        by_place: Share of the half width that it takes away.
        by_seed: The same of another seed.
        seeds: Number of seeds for the wanted half width; infinite where none suffices.
        reseed: Places at which another seed is run.
    """

    place: float | None
    by_place: float
    by_seed: float
    seeds: float
    reseed: tuple[float, ...]


def gains(
    places: Float[Array, " places"],
    losses: Float[Array, "seeds places"],
    options: Sequence[float],
    *,
    within: float,
    unit: float,
    shift: float,
) -> Gains:
    """Return the expected gains.

    Args:
        places: Measured places.
        losses: Losses; NaN where a seed was not run, infinite where it diverged.
        options: Places that may be added.
        within: Wanted half width.
        unit: The distance on the scale in which shapes are given.
        shift: Sd of one seed's own optimum, in units.
    """
    now = posterior(places, losses, shift=shift, unit=unit, run=~np.isnan(losses))
    half = (now.high - now.low) / 2
    seeds = len(losses)
    # Twice as many seeds of the same kind; one seed's differences would show no noise at all.
    twice = losses if seeds == 1 else np.repeat(losses, 2, axis=0)
    less = shift / np.sqrt(2) if seeds == 1 else shift
    more = posterior(places, twice, shift=less, unit=unit, run=~np.isnan(twice))
    # The variance is a part that places leave, and a part that falls as 1 / seeds.
    falling = 2 * max(half**2 - ((more.high - more.low) / 2) ** 2, 0.0)
    staying = half**2 - falling
    after = np.sqrt(max(staying + falling * seeds / (seeds + 1), 0.0))
    needed = seeds * falling / (within**2 - staying) if staying < within**2 else np.inf
    place, by_place = None, 0.0
    for option in options:
        halves = [
            _half(places, losses, option, expected, unit=unit, shift=shift)
            for expected in _expected(now, places, losses, option)
        ]
        share = 1 - float(np.mean(halves)) / half
        if place is None or share > by_place:
            place, by_place = option, share
    return Gains(
        place=place,
        by_place=by_place,
        by_seed=1 - after / half,
        seeds=needed,
        reseed=_central(places, losses, now),
    )


def _expected(
    now: Posterior,
    places: Float[Array, " places"],
    losses: Float[Array, "seeds places"],
    place: float,
) -> tuple[float, float]:
    """Return the loss at a place if the optimum lies low, and if it lies high."""
    data = paired(places, losses, ~np.isnan(losses))
    near = np.flatnonzero(data.usable)
    near = near[np.argsort(data.mean[near], kind="stable")[:FEWEST]]
    # Draws of the level are those that fit the lowest places.
    heights = now.amplitudes[:, None] * now.shapes.heights(
        (places[near] - now.optima[:, None]) / now.unit
    )
    levels = (data.mean[near] - heights).mean(1)
    distances = (place - now.optima[:, None]) / now.unit
    drawn = levels + now.amplitudes * now.shapes.heights(distances)[:, 0]
    low = now.optima < np.median(now.optima)
    return float(np.median(drawn[low])), float(np.median(drawn[~low]))


def _half(
    places: Float[Array, " places"],
    losses: Float[Array, "seeds places"],
    place: float,
    expected: float,
    *,
    unit: float,
    shift: float,
) -> float:
    """Return half the width of the interval with an expected loss added."""
    finite = np.isfinite(losses).all(0)
    if not finite.any():
        finite = np.isfinite(losses).any(0)
    nearest = np.flatnonzero(finite)[np.argmin(np.abs(places[finite] - place))]
    # Seeds differ as they do at the nearest place.
    column = losses[:, nearest]
    column = expected + column - column[np.isfinite(column)].mean()
    at = int(np.searchsorted(places, place))
    x, y = np.insert(places, at, place), np.insert(losses, at, column, axis=1)
    found = posterior(x, y, shift=shift, unit=unit, run=~np.isnan(y))
    return (found.high - found.low) / 2


def _central(
    places: Float[Array, " places"], losses: Float[Array, "seeds places"], now: Posterior
) -> tuple[float, ...]:
    """Return the places around the interval, the lowest included."""
    data = paired(places, losses, ~np.isnan(losses))
    used = places[data.usable]
    order = np.argsort(np.abs(used - now.position), kind="stable")
    inside = int(((used >= now.low) & (used <= now.high)).sum())
    count = int(np.clip(inside + 2, FEWEST, MOST))
    return tuple(sorted(used[order[:count]].tolist()))
