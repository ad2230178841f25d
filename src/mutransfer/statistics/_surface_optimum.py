"""The lowest point of a surface over two hyperparameters, with its intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from ..core import in_octaves
from ._arrays import Array
from ._posterior import SEED_OCTAVES
from ._surface_fit import FEWEST_SURFACE_POINTS, SurfaceFit, fit_surface

SEED_STEPS = 0.25
"""Standard deviation of one seed's optimum that is assumed along a linear scale, in steps."""

_OPEN = 0.05
"""Share of the draws outside the grid from which on it does not bracket the optimum."""

_FLAT = 4.0
"""Range of the mean losses, in their standard errors, below which they show no optimum."""

_FEWEST_KEPT = 0.05
"""Smallest share of draws that may be left by the points that diverged."""

SurfaceStatus = Literal["inside", "open", "flat"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfacePoints:
    """Losses at points over two hyperparameters.

    Attributes:
        scales: The scales of the two.
        places: Places on these scales, (points, 2).
        losses: Losses; infinite where a run diverged.
    """

    scales: tuple[str, str]
    places: Float[Array, "points 2"]
    losses: Float[Array, "seeds points"]

    @cached_property
    def steps(self) -> Float[Array, " 2"]:
        """The usual distance between neighbours along each scale."""
        return np.array([_step(self.places[:, i]) for i in (0, 1)])

    @property
    def alive(self) -> Bool[np.ndarray, " points"]:
        """True for the points at which no seed diverged."""
        return np.asarray(np.isfinite(self.losses).all(0))

    @property
    def units(self) -> Float[Array, " 2"]:
        """An octave, or a step of a linear grid: directions are compared in these."""
        pairs = zip(self.scales, self.steps, strict=True)
        return np.array([1.0 if in_octaves(scale) else float(step) for scale, step in pairs])

    @property
    def are_enough(self) -> bool:
        """True if the points that did not diverge can show a surface."""
        return bool(self.alive.sum() >= FEWEST_SURFACE_POINTS)

    @property
    def vary_together(self) -> bool:
        """True if those points have three values of each hyperparameter, not on one line."""
        x, y = ((self.places[self.alive] - self.places[self.alive].mean(0)) / self.steps).T
        terms = np.column_stack([np.ones(len(x)), x, y, x**2, x * y, y**2])
        return bool(np.linalg.matrix_rank(terms) == terms.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceOptimum:
    """The lowest point of a surface.

    Attributes:
        fit: The fit, its draws included.
        kept: The fit without the draws that lie beyond points that diverged.
        draws: Draws of the lowest point; those that have none lie near the best place that was run.
        spots: The same, NaN for those that have none within the points.
        status: "inside", "open" where the points do not bracket it, or "flat".
        place: The lowest point.
        low, high: The ends of its 95% interval along each scale.
    """

    fit: SurfaceFit
    kept: SurfaceFit
    draws: Float[Array, "draws 2"]
    spots: Float[Array, "draws 2"]
    status: SurfaceStatus
    place: Float[Array, " 2"]
    low: Float[Array, " 2"]
    high: Float[Array, " 2"]


def surface_optimum(points: SurfacePoints) -> SurfaceOptimum:
    """Fit a surface, and return its lowest point.

    Args:
        points: The losses, which `are_enough` and `vary_together`.
    """
    alive, units = points.alive, points.units
    losses = points.losses[:, alive]
    own = [SEED_OCTAVES if in_octaves(scale) else SEED_STEPS for scale in points.scales]
    fit = fit_surface(points.places[alive] / units, losses, np.array(own))
    kept = _kept(fit, points)
    draws = kept.places * units
    spots = np.where(_bounded(kept, points)[:, None], draws, np.nan)
    place = fit.place * units
    low, high = np.transpose([_ends(spots[:, i]) for i in (0, 1)])
    return SurfaceOptimum(
        fit=fit,
        kept=kept,
        draws=draws,
        spots=spots,
        status=_status(kept, losses, points, fit.noise),
        place=place,
        low=np.minimum(low, place),
        high=np.maximum(high, place),
    )


def _step(places: Float[Array, " points"]) -> float:
    """Return the distance between neighbours, as if points were on a grid."""
    number = min(len(np.unique(places)), max(2, math.ceil(math.sqrt(len(places)))))
    return float(np.ptp(places)) / max(number - 1, 1) or 1.0


def _kept(fit: SurfaceFit, points: SurfacePoints) -> SurfaceFit:
    """Return the fit without the draws that lie beyond points that diverged.

    A draw without a lowest point of its own stands at the best place that was run, and is moved
    within a step of it.
    """
    random = np.random.default_rng(1)
    moved = random.uniform(-1, 1, fit.places.shape) * points.steps / points.units
    places = np.where(fit.closed[:, None], fit.places, fit.places + moved)
    away = np.abs((places * points.units)[:, None] - points.places) / points.steps
    nearest = (away**2).sum(-1).argmin(1)
    within = (away.max(-1)[:, points.alive] <= 1).any(1)
    good = points.alive[nearest] | within
    if good.mean() < _FEWEST_KEPT:
        good[:] = True
    return replace(fit, places=places[good], hessians=fit.hessians[good], closed=fit.closed[good])


def _bounded(fit: SurfaceFit, points: SurfacePoints) -> Bool[np.ndarray, " draws"]:
    """Return the draws with a lowest point, or with runs around their best place."""
    at, all_places = fit.places * points.units, points.places
    low, high = all_places.min(0) + points.steps, all_places.max(0) - points.steps
    return np.asarray(fit.closed | ((at > low) & (at < high)).all(1))


def _status(
    fit: SurfaceFit, losses: Float[Array, "seeds points"], points: SurfacePoints, noise: float
) -> SurfaceStatus:
    """Return whether the points bracket the optimum."""
    if np.ptp(losses.mean(0)) <= _FLAT * np.nan_to_num(noise) / len(losses) ** 0.5:
        return "flat"
    at = fit.places * points.units
    inside = ((at >= points.places.min(0)) & (at <= points.places.max(0))).all(1)
    return "inside" if (inside & _bounded(fit, points)).mean() >= 1 - _OPEN else "open"


def _ends(draws: Float[Array, " draws"]) -> tuple[float, float]:
    """Return the 95% interval; draws without a lowest point count for both ends alike."""
    sides = np.where(np.arange(len(draws)) % 2, np.inf, -np.inf)
    # Order statistics: percentiles that interpolate would make NaN of infinite neighbours.
    ordered = np.sort(np.where(np.isnan(draws), sides, draws))
    low, high = (float(ordered[round(share * (len(draws) - 1))]) for share in (0.025, 0.975))
    return low, high
