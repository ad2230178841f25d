"""Simulated loss curves of ten families, whose optimum is known."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mutransfer.statistics import Array

Height = Callable[[Array], Array]

STEEPNESS = 0.05
"""Loss a squared octave away from the optimum."""

NOISES = {"low": 0.005, "high": 0.02}
SPAN = 6.0
"""Octaves of the grid."""

SHIFT = 0.2
"""Sd in octaves of one seed's own optimum; for a cliff, whose place is fixed, by tilts alone."""


@dataclass(frozen=True)
class Family:
    """A loss curve over the distance from the optimum, in octaves.

    Attributes:
        height: Loss above the lowest.
        diverges: Distance from which runs diverge, by seed: its mean and sd; None for never.
        shifts: True if seeds shift the curve; False if it stays in place.
        tilts: True if seeds tilt the curve.
        span: Octaves of the grid.
        within: Part of the grid in which the optimum lies.
    """

    height: Height
    diverges: tuple[float, float] | None = None
    shifts: bool = True
    tilts: bool = True
    span: float = SPAN
    within: tuple[float, float] = (0.25, 0.75)


def _symmetric(d: Array) -> Array:
    return STEEPNESS * d**2


def _steep(d: Array) -> Array:
    return STEEPNESS * d**2 * np.where(d > 0, 5, 1)


def _exponential(d: Array) -> Array:
    return 2 * STEEPNESS * (np.exp(d) - d - 1)


def _cliff(d: Array) -> Array:
    return np.where(d > 0, 0.5 + 0.2 * d, STEEPNESS * d**2)


def _flat(d: Array) -> Array:
    return 0.05 * STEEPNESS * d**2


def _plateau(d: Array) -> Array:
    return 2 * STEEPNESS * np.maximum(np.abs(d) - 1, 0) ** 2


def _untrained(d: Array) -> Array:
    """Loss of rates that are too small to train: its gain is that of the rate itself."""
    return np.exp(-np.exp2(np.minimum(d, 0) + 1.5)) - np.exp(-np.exp2(1.5))


def _saturating(d: Array) -> Array:
    return 0.5 * d**2 / (d**2 + 4) + np.where(d > 0, 6 * STEEPNESS * d**2, 0)


def _saturating_cliff(d: Array) -> Array:
    return 1.5 * _untrained(d) + np.where(d > 0, 0.7 + 0.3 * d, 0)


def _shallow_cliff(d: Array) -> Array:
    return 0.15 * _untrained(d) + np.where(d > 0, 1.0 + 0.3 * d, 0)


_LOW_RATES: dict[str, Any] = {"tilts": False, "span": 9.0, "within": (0.6, 0.85)}
"""Most of the grid is at rates that hardly train, where seeds do not tilt the curve."""

FAMILIES = {
    "symmetric": Family(_symmetric),
    "steep right": Family(_steep),
    "exponential": Family(_exponential),
    "cliff": Family(_cliff, shifts=False),
    "diverging": Family(_symmetric, diverges=(1.0, 0.25)),
    "flat": Family(_flat),
    "plateau": Family(_plateau),
    "saturating": Family(_saturating, **_LOW_RATES),
    "saturating cliff": Family(_saturating_cliff, shifts=False, **_LOW_RATES),
    "shallow cliff": Family(_shallow_cliff, shifts=False, **_LOW_RATES),
}


@cache
def mean_optimum(family: Family, sd: float) -> float:
    """Return the optimum of the mean over seeds, as a distance from that of no shift.

    Shifts move it where the curve is steeper on one side. A plateau's is its centre.
    """
    if not family.shifts:
        return 0.0
    d = np.linspace(-2, 2, 4001)
    normal, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = sum(w * family.height(d - sd * u) for u, w in zip(normal, weights, strict=True))
    lowest = d[mean <= mean.min() * (1 + 1e-9)]
    return float(lowest.mean())


def draw(
    family: Family, seeds: int, step: float, noise: float, rng: np.random.Generator
) -> tuple[Array, Array, float]:
    """Return places, losses (seeds, values) and the optimum of the mean over seeds.

    The optimum lies within a part of the grid, at a random offset to it. A seed has an
    offset, a shift of 0.16 octave (the cliff: none) and a tilt that makes its total 0.2.
    """
    places = np.arange(0, family.span + step / 2, step)
    centre = family.span * rng.uniform(*family.within)
    sd = 0.8 * SHIFT if family.shifts else 0.0
    slope_scale = 2 * STEEPNESS * SHIFT * (0.6 if family.shifts else 1.0)
    if family.height is _flat:
        slope_scale *= 0.05
    d = places - centre - sd * rng.standard_normal((seeds, 1))
    tilts = family.tilts * slope_scale * rng.standard_normal((seeds, 1))
    losses = 1 + family.height(d) + tilts * (places - centre)
    losses += 2 * noise * rng.standard_normal((seeds, 1))
    losses += noise * rng.standard_normal(losses.shape)
    if family.diverges is not None:
        mean, spread = family.diverges
        losses[places - centre > mean + spread * rng.standard_normal((seeds, 1))] = np.nan
    return places, losses, centre + mean_optimum(family, sd)
