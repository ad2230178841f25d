"""Points near the optimum of a surface fitted to points drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size
from ..statistics import Array
from ._metric import check_direction
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._search_axes import Axis, axes_of
from ._search_table import Point, Table
from ._study import Study
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


@dataclass(frozen=True, kw_only=True)
class SurfaceSearch:
    """Points of the study's design, then points near the optimum of a surface.

    A quadratic of all hyperparameters that have a scale is fitted to the mean losses, far points
    with little weight. New points are the optima of draws from its posterior, so that they lie
    where the optimum may be. Choices stay at the best one.

    Args:
        within: Half width of the optimum's 95% interval at which it ends, in octaves or steps.
        batch: Number of points that are added at once.
        rounds: Most batches after the design's own points.
        seeds: Number of the study's seeds at each point.
        metric: Metric whose lowest value is searched for, as in `Runs.read`.
    """

    within: float = 0.25
    batch: int = 8
    rounds: int = 4
    seeds: int = 1
    metric: str = "mean"

    def __post_init__(self) -> None:
        for name in ("within", "batch", "rounds", "seeds"):
            if not getattr(self, name) > 0:
                raise MutransferError(f"SurfaceSearch({name}={getattr(self, name)}): above 0")
        check_direction(self.metric)

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return the next points of the smallest size that is not finished."""
        axes = [axis for axis in axes_of(study, _REACH) if axis.scale != "choice"]
        table = Table(study, runs.with_metric(self.metric))
        rules = [rule_name(rule) for rule in study.rules]
        for size in study.sizes():
            wanted = [run for rule in rules for run in self._next(axes, table, rule, size)]
            if wanted:
                return wanted
        return []

    def _next(self, axes: Sequence[Axis], table: Table, rule: str, size: Size) -> list[Run]:
        """Return the next runs of one rule at one size; none when its optimum is known."""
        study, known = table.study, table.points(rule, size)
        points = study.points()
        if known:
            best, added = table.best(rule, size), len(known) - len(points)
            if best is None or added >= self.batch * self.rounds:
                return []
            names = {axis.name for axis in axes}
            held = {name: value for name, value in best.items() if name not in names}
            centre = next(p for p in points if all(as_recorded(p[n]) == v for n, v in held.items()))
            found = _Surface(axes, table, rule, size, held)
            points = [{**centre, **point} for point in found.points(self.within, self.batch)]
        runs = [
            Run(rule=rule, size=size, point=point, seed=seed)
            for point in points
            for seed in study.seeds[: self.seeds]
        ]
        return [run for run in dict.fromkeys(runs) if not table.has(run)]


class _Surface:
    """Quadratic through the points of one rule and size that share their choices."""

    def __init__(
        self, axes: Sequence[Axis], table: Table, rule: str, size: Size, held: Point
    ) -> None:
        self.axes = axes
        rows = [dict(zip(table.names, key, strict=True)) for key in table.points(rule, size)]
        alike = np.array([all(row[n] == v for n, v in held.items()) for row in rows])
        places = [[axis.place(row[axis.name]) for axis in axes] for row in rows]
        self.places = np.array(places, dtype=np.float64)[alike]
        self.losses = table.means(rule, size)[alike]

    def points(self, within: float, count: int) -> list[dict[str, Any]]:
        """Return places where the optimum may be; none if its interval is narrow."""
        optima = self._optima(np.random.default_rng(len(self.losses)))
        half = 1.96 * optima.std(0)
        if (half <= within).all():
            return []
        return [
            {axis.name: axis.value(place) for axis, place in zip(self.axes, spot, strict=True)}
            for spot in optima[:count]
        ]

    def _optima(self, random: np.random.Generator) -> Float[Array, "draws axes"]:
        """Return the lowest place of every draw of the surface."""
        alive = np.isfinite(self.losses)
        x, y = self.places[alive], self.losses[alive]
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
        low, high = np.array([axis.ends for axis in self.axes]).T
        wide = random.uniform(low, high, (_CANDIDATES, len(low)))
        near = best + random.standard_normal((_CANDIDATES, len(low)))
        spots = np.clip(np.concatenate([best[None], wide, near]), low, high)
        away = ((spots[:, None] - self.places) ** 2).sum(-1)
        return np.asarray(spots[np.isfinite(self.losses)[away.argmin(1)]])


def _terms(x: Float[Array, "n axes"]) -> Float[Array, "n terms"]:
    """Return the terms of a quadratic."""
    first, second = np.triu_indices(x.shape[1])
    return np.column_stack([np.ones(len(x)), x, x[:, first] * x[:, second]])
