"""A surface that is searched: its optimum so far, and points where it may lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Size, in_octaves
from ..statistics import (
    SEED_OCTAVES,
    SEED_STEPS,
    Array,
    SurfaceOptimum,
    SurfacePoints,
    posterior,
    surface_optimum,
)
from ._search_axes import LADDER, Axis
from ._search_start import Optimum
from ._search_table import Table
from ._values import as_recorded

_MISFIT = 0.15
"""Error of a quadratic as a share of the excess, so that far points count little."""

_PRIOR = 1e-3
"""Precision of the coefficients' prior, in squared typical excesses: a weak ridge."""

_NOISE, _LEAST_NOISE = 0.1, 0.02
"""First guess and smallest error of a mean loss, in typical excesses."""

_CANDIDATES = 2000
"""Places at which a surface is compared."""

_DRAWS = 128
"""Draws of the surface that show how well its optimum is known."""

_REACH = 1.0
"""Octaves or steps beyond the points that were run, at most."""

_INSIDE = 0.95
"""Share of the draws within the points that bracket an optimum."""

_SIDES = 1.96
"""Half the width of a 95% interval in standard deviations."""


Places = Float[Array, "points axes"]
Losses = Float[Array, "seeds points"]
"""Losses, NaN where a seed was not run, infinite where it diverged."""

Interval = tuple[Float[Array, " axes"], Float[Array, " axes"], bool]
"""The ends of an interval along every axis; True if the points bracket it."""


class SearchedSurface:
    """Losses at the points of one rule and size that share the best choices.

    Args:
        axes: The hyperparameters that have a scale.
        table: The results.
        rule: The rule.
        size: The size; not all of its runs diverged.
    """

    def __init__(self, axes: Sequence[Axis], table: Table, rule: str, size: Size) -> None:
        best, names = table.best(rule, size), {axis.name for axis in axes}
        assert best is not None
        self.axes, self.best = axes, best
        held = {name: value for name, value in best.items() if name not in names}
        self.centre = next(
            point
            for point in table.study.points()
            if all(as_recorded(point[name]) == value for name, value in held.items())
        )
        points = table.points(rule, size)
        rows = [dict(zip(table.names, key, strict=True)) for key in points]
        alike = np.array([all(row[n] == v for n, v in held.items()) for row in rows])
        places = [[axis.place(row[axis.name]) for axis in axes] for row in rows]
        self.places = np.array(places, dtype=np.float64)[alike]
        self.means = table.means(rule, size)[alike]
        losses = table.losses(rule, size)[:, alike]
        self.losses = losses[~np.isnan(losses).all(1)]

    def points(self, count: int) -> list[Mapping[str, Any]]:
        """Return points where the optimum may be."""
        spots = self._draws
        if self._surface is not None:
            spots = np.clip(self._surface.draws, *self._reach)
        return [
            {
                **self.centre,
                **{a.name: a.value(place) for a, place in zip(self.axes, spot, strict=True)},
            }
            for spot in spots[:count]
        ]

    def optima(self) -> dict[str, Optimum]:
        """Return the optimum along every axis, as it is read off the record."""
        run = ~np.isnan(self.losses).all(0)
        find = {1: self._of_one, 2: self._of_two}.get(len(self.axes), self._of_many)
        low, high, is_inside = find(self.places[run], self.losses[:, run])
        ends = zip(self.axes, low.tolist(), high.tolist(), strict=True)
        return {axis.name: self._optimum(axis, a, b, is_inside) for axis, a, b in ends}

    def _optimum(self, axis: Axis, low: float, high: float, is_inside: bool) -> Optimum:
        lowest = axis.place(self.best[axis.name])
        at_end = min(abs(lowest - end) for end in axis.ends) < 1 / LADDER
        return Optimum(
            value=self.best[axis.name],
            place=(low + high) / 2,
            low=low,
            high=high,
            status="inside" if is_inside else "edge" if at_end else "open",
        )

    def _of_one(self, places: Places, losses: Losses) -> Interval:
        """Return the interval of `posterior`."""
        if len(places) < 2:
            return _unknown(1)
        order = np.argsort(places[:, 0])
        found = posterior(places[order, 0], losses[:, order], run=~np.isnan(losses[:, order]))
        return np.array([found.low]), np.array([found.high]), found.status == "inside"

    def _of_two(self, places: Places, losses: Losses) -> Interval:
        """Return the intervals of `mt.surface`."""
        found = self._surface
        if found is None:
            return _unknown(2)
        return found.low, found.high, found.status == "inside"

    @cached_property
    def _surface(self) -> SurfaceOptimum | None:
        """The fit of `mt.surface`; None where it has none."""
        if len(self.axes) != 2:
            return None
        first, second = (str(axis.scale) for axis in self.axes)
        run = ~np.isnan(self.losses).all(0)
        losses = self.losses[:, run]
        whole = ~np.isnan(losses).any(1)
        losses = losses[whole] if whole.any() else np.nanmean(losses, axis=0, keepdims=True)
        points = SurfacePoints(scales=(first, second), places=self.places[run], losses=losses)
        is_one = points.are_enough and points.vary_together
        return surface_optimum(points) if is_one else None

    @property
    def _reach(self) -> tuple[Float[Array, " axes"], Float[Array, " axes"]]:
        """The lowest and the highest places that may be run next."""
        low, high = np.array([axis.ends for axis in self.axes]).T
        lowest, highest = self.places.min(0) - _REACH, self.places.max(0) + _REACH
        return np.maximum(low, lowest), np.minimum(high, highest)

    def _of_many(self, places: Places, losses: Losses) -> Interval:
        """Return the intervals of the draws, widened by the seeds' own optima."""
        shift = [SEED_OCTAVES if in_octaves(axis.scale) else SEED_STEPS for axis in self.axes]
        alive = places[np.isfinite(losses).any(0)]
        half = _SIDES * np.sqrt(self._draws.var(0) + np.square(shift) / len(losses))
        middle = self._draws.mean(0)
        inside = (self._draws > alive.min(0)) & (self._draws < alive.max(0))
        return middle - half, middle + half, bool(inside.all(1).mean() >= _INSIDE)

    @cached_property
    def _draws(self) -> Float[Array, "draws axes"]:
        """The lowest places of draws of the surface."""
        return self._optima(np.random.default_rng(len(self.means)))

    def _optima(self, random: np.random.Generator) -> Float[Array, "draws axes"]:
        """Return the lowest place of every draw of the surface."""
        alive = np.isfinite(self.means)
        x, y = self.places[alive], self.means[alive]
        best = x[int(np.argmin(y))]
        excess = y - y.min()
        excess = excess / (float(np.median(excess)) or float(excess.max()) or 1.0)
        spots = self._candidates(best, random)
        features, terms = _terms(x - best), _terms(spots - best)
        noise = _NOISE
        for _ in range(2):
            weights = 1 / (noise**2 + (_MISFIT * excess) ** 2)
            precision = (features.T * weights) @ features + _PRIOR * np.eye(features.shape[1])
            mean = np.linalg.solve(precision, features.T @ (weights * excess))
            near = excess <= np.median(excess)
            noise = max(float(np.abs((excess - features @ mean)[near]).mean()), _LEAST_NOISE)
        root = np.linalg.cholesky(np.linalg.inv(precision))
        draws = mean + random.standard_normal((_DRAWS, len(mean))) @ root.T
        return np.asarray(spots[np.argmin(draws @ terms.T, axis=1)])

    def _candidates(
        self, best: Float[Array, " axes"], random: np.random.Generator
    ) -> Float[Array, "candidates axes"]:
        """Return places to compare, none of them nearest to a point that diverged."""
        low, high = self._reach
        wide = random.uniform(low, high, (_CANDIDATES, len(low)))
        near = best + random.standard_normal((_CANDIDATES, len(low)))
        spots = np.clip(np.concatenate([best[None], wide, near]), low, high)
        away = ((spots[:, None] - self.places) ** 2).sum(-1)
        return np.asarray(spots[np.isfinite(self.means)[away.argmin(1)]])


def _terms(x: Float[Array, "n axes"]) -> Float[Array, "n terms"]:
    """Return the terms of a quadratic."""
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([np.ones(len(x)), x, x[:, first] * x[:, second]])


def _unknown(axes: int) -> Interval:
    return np.full(axes, -np.inf), np.full(axes, np.inf), False
