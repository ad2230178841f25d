"""Points near the optimum of a surface fitted to points drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core import MutransferError, Size
from ._metric import check_direction
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._search_axes import Axis, axes_of
from ._search_checks import is_count, is_positive
from ._search_end import warn_of_wide
from ._search_start import Optimum
from ._search_surface_fit import SearchedSurface
from ._search_table import Point, Table
from ._study import Study

_LONE = 0.6
"""Half width below which one seed's interval on a surface hardly narrows, in octaves or steps.

Its own optimum lies 0.2 octaves from that of the mean over seeds, one standard deviation.
"""


@dataclass(frozen=True, kw_only=True)
class SurfaceSearch:
    """Points of the study's design, then points near the optimum of a surface.

    A quadratic of all hyperparameters that have a scale is fitted to the mean losses, far points
    with little weight. New points are the optima of draws from its posterior, so that they lie
    where the optimum may be. Choices stay at the best one. It ends by the interval that is read off
    the record: of `statistics.posterior` for one hyperparameter, of `mt.surface` for two.

    Args:
        within: Half width of the optimum's 95% interval at which it ends, in octaves or steps.
        batch: Number of points that are added at once.
        rounds: Most batches after the design's own points.
        seeds: Number of the study's seeds at each point.
        beyond: How far the search may go beyond the ends of the study's values, in octaves.
        metric: Metric whose lowest value is searched for, as in `Runs.read`.
    """

    within: float = 0.25
    batch: int = 8
    rounds: int = 4
    seeds: int = 1
    beyond: float = 6.0
    metric: str = "mean"

    def __post_init__(self) -> None:
        for name in ("within", "batch", "rounds", "seeds"):
            value = getattr(self, name)
            if not (is_positive(value) if name == "within" else is_count(value)):
                whole = "" if name == "within" else ", and whole"
                raise MutransferError(f"SurfaceSearch({name}={value!r}): above 0{whole}")
        check_direction(self.metric)

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return the next points of the smallest size that is not finished."""
        axes = [axis for axis in axes_of(study, self.beyond) if axis.scale != "choice"]
        table = Table(study, runs.with_metric(self.metric))
        found: dict[str, dict[Size, Mapping[str, Optimum]]] = {
            rule_name(rule): {} for rule in study.rules
        }
        for size in study.sizes():
            wanted: list[Run] = []
            for rule, optima in found.items():
                asked, optima[size] = self._next(axes, table, rule, size)
                wanted += asked
            if wanted:
                return wanted
        warn_of_wide(
            found,
            self.within,
            f"Up to {self.rounds} batches of {self.batch} points are added, with {self.seeds} of "
            f"{len(study.seeds)} seeds, and one seed leaves about ±0.5: give the search more, as "
            "SurfaceSearch(rounds=..., seeds=...)",
            f"SurfaceSearch(beyond=...), now {self.beyond:g}, or further values of the study",
        )
        return []

    def _next(
        self, axes: Sequence[Axis], table: Table, rule: str, size: Size
    ) -> tuple[list[Run], Mapping[str, Optimum]]:
        """Return the next runs of one rule at one size, and its optimum."""
        study, count = table.study, len(table.points(rule, size))
        if table.best(rule, size) is None:
            unknown = {axis.name: Optimum(value=None, status="diverged") for axis in axes}
            return [] if count else self._runs(table, rule, size, study.points()), unknown
        surface = SearchedSurface(axes, table, rule, size)
        optima = surface.optima()
        within = max(self.within, _LONE) if self.seeds == 1 and len(axes) > 1 else self.within
        is_known = all(best.is_within(within) for best in optima.values())
        left = len(study.points()) + self.batch * self.rounds - count
        if is_known or left <= 0:
            return [], optima
        return self._runs(table, rule, size, surface.points(min(self.batch, left))), optima

    def _runs(self, table: Table, rule: str, size: Size, points: Sequence[Point]) -> list[Run]:
        """Return the runs at some points that were not made."""
        runs = [
            Run(rule=rule, size=size, point=point, seed=seed)
            for point in points
            for seed in table.study.seeds[: self.seeds]
        ]
        return [run for run in dict.fromkeys(runs) if not table.has(run)]
