"""Knowledge of the optimum of a curve that is measured step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from ..core import MutransferError
from ._arrays import Array
from ._few_points import SmoothCurve, few_points
from ._paired import paired
from ._posterior import posterior, shortest

QUIET = 3.0
"""Losses that differ by less than this many sds of their noise are flat."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Optimum of a curve, from the places measured so far.

    Attributes:
        usable: Places whose losses can be compared.
        best: Index of the lowest of them; -1 where there is none.
        place: Mean of the optimum; NaN where fewer than two places can be used.
        sd: Its standard deviation.
        low, high: Its shortest 95% interval.
        flat: True if the losses do not differ beyond their noise.
        below, above: True if the optimum may lie below or above all places that can be used.
        bounds: Places from which on training diverges, infinite where it does not.
    """

    usable: Bool[Any, " places"]
    best: int
    place: float
    sd: float
    low: float
    high: float
    flat: bool
    below: bool
    above: bool
    bounds: tuple[float, float]

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def known(
    places: Float[Array, " places"],
    losses: Float[Array, "seeds places"],
    *,
    unit: float,
    shift: float,
    prior: SmoothCurve | None,
) -> Known:
    """Return what some losses tell of the optimum.

    Args:
        places: Places, ascending.
        losses: Losses; NaN where a seed was not run, infinite where it diverged.
        unit: The distance on the scale in which shapes are given.
        shift: Sd of one seed's own optimum, in units.
        prior: The prior of a smooth curve; None: that of `posterior`.
    """
    run = ~np.isnan(losses)
    y = losses if prior is None else _logs(losses)
    data = paired(places, y, run)
    best = int(np.argmin(np.where(data.usable, data.mean, np.inf))) if data.usable.any() else -1
    found: tuple[float, ...] = (np.nan, np.nan, -np.inf, np.inf)
    status: Literal["inside", "edge", "flat", "diverged"] = "diverged"
    if data.usable.sum() > 1:
        if prior is None:
            result = posterior(places, losses, shift=shift, unit=unit, run=run)
            found = (result.position, result.sd, result.low, result.high)
            status = result.status
        else:
            usable = data.usable
            x, mean, counts = places[usable] / unit, data.mean[usable], data.counts[usable]
            limits = (data.low / unit, data.high / unit)
            at, density = few_points(x, mean, counts, limits, prior)
            found = tuple(unit * value for value in _summary(at, density))
            noise = prior.noise / np.sqrt(counts.min())
            status = "flat" if np.ptp(mean) < QUIET * noise else "inside"
    used = np.flatnonzero(data.usable)
    # Noise may put the lowest loss beside the end; farther in it is no end's.
    ends = (1, 2) if status == "edge" else (1, 1)
    lower = ends[int(found[0] < places[best])] if len(used) else 1
    upper = ends[int(found[0] > places[best])] if len(used) else 1
    return Known(
        usable=data.usable,
        best=best,
        place=found[0],
        sd=found[1],
        low=found[2],
        high=found[3],
        flat=status == "flat",
        below=np.isinf(data.low) and best in used[:lower],
        above=np.isinf(data.high) and best in used[-upper:],
        bounds=(data.low, data.high),
    )


def _summary(
    at: Float[Array, " candidates"], density: Float[Array, " candidates"]
) -> tuple[float, float, float, float]:
    """Return mean, sd and the shortest 95% interval."""
    mean = float(density @ at)
    return mean, float(np.sqrt(density @ (at - mean) ** 2)), *shortest(at, density)


def _logs(losses: Float[Array, "seeds places"]) -> Float[Array, "seeds places"]:
    """Return log losses, diverged ones infinite."""
    if (losses <= 0).any():
        raise MutransferError(
            f"a loss is {float(np.nanmin(losses))}: the prior of a smooth curve is of relative "
            "losses, give positive ones or no prior"
        )
    return np.asarray(np.log(np.where(np.isnan(losses), np.inf, losses)))
