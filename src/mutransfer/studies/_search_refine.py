"""Refinement: few runs that close in on the optimum of every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..core import MutransferError, Size
from ..statistics import Refined, Start, refinement
from ._designs import Random
from ._metric import check_direction
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._search_axes import LADDER, Axis, axes_of
from ._search_checks import is_count, is_positive
from ._search_end import warn_of_wide
from ._search_start import Found, Optimum, start_at
from ._search_surface import SurfaceSearch
from ._search_table import Point, Table
from ._study import Study
from ._swept import designs

_CYCLES = 3
"""Most times that every hyperparameter is refined at one size."""

_LEVELS = (4.0, 2.0, 1.0)
"""Widths of the interval that all sizes reach one after the other, in wanted ones.

So a budget that ends leaves every size with about the same interval.
"""

_RUNG = 1 / LADDER
"""Distance of neighbouring values."""

_FINEST = _RUNG / 4
"""Least half width that values on the ladder can show."""

_BRACKETED = 5
"""Places from which on a bracketed optimum waits for the other sizes, in the first round."""

_NEAR = 0.5
"""Least sd of an optimum of which the other hyperparameters moved, in octaves."""


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Few runs that close in on the optimum of every size.

    A line of three places is extended until it brackets the optimum, then refined around it, one
    hyperparameter after the other, until none moves by more than its interval. Sizes go from small
    to large, all rules and places of one size together; larger ones start where a law of the
    smaller ones expects the optimum, and find it as well where that is wrong. Intervals narrow in
    three rounds over all sizes, so that a budget that ends leaves none behind.

    A study of the design `Random` is searched by `SurfaceSearch`.

    Args:
        within: Half width of the optimum's 95% interval that is wanted, in octaves; in steps of the
            study's values along linear scales.
        step: First spacing, in octaves or steps; by default the study's own, from one to two.
        beyond: How far the search may go beyond the ends of the study's values, in octaves.
        seeds: Number of seeds to begin with; the study's others are run where they narrow the
            interval more than another place does.
        metric: Metric whose lowest value is searched for, as in `Runs.read`.
    """

    within: float = 0.25
    step: float | None = None
    beyond: float = 6.0
    seeds: int = 1
    metric: str = "mean"

    def __post_init__(self) -> None:
        for name in ("within", "step"):
            value = getattr(self, name)
            if value is not None and not is_positive(value):
                raise MutransferError(f"Refine({name}={value!r}): give a positive number")
        if not is_count(self.seeds):
            raise MutransferError(f"Refine(seeds={self.seeds!r}): give a positive whole number")
        if self.within < _FINEST or (self.step or _RUNG) < _RUNG:
            raise MutransferError(
                f"Refine(within={self.within:g}, step={self.step}): values lie {_RUNG:g} octaves "
                f"or steps apart, so give a step of at least that, and within={_FINEST:g} or more"
            )
        if not (is_positive(self.beyond) or self.beyond == 0):
            raise MutransferError(f"Refine(beyond={self.beyond!r}): it cannot be negative")
        check_direction(self.metric)

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return the next runs, those of all rules of a size together."""
        if any(isinstance(design, Random) for design in designs(study)):
            surface = SurfaceSearch(
                within=self.within, seeds=self.seeds, beyond=self.beyond, metric=self.metric
            )
            return surface.propose(study, runs)
        axes = axes_of(study, self.beyond)
        table = Table(study, runs.with_metric(self.metric))
        # Where several hyperparameters move, a size begins at the final optima of smaller ones.
        levels = _LEVELS if len(axes) == 1 else (1.0,)
        for level in levels:
            found: dict[str, dict[Size, Mapping[str, Optimum]]] = {
                rule_name(rule): {} for rule in study.rules
            }
            later: list[Run] = []
            for size in study.sizes():
                walks = [_Walk(self, table, rule, size, level) for rule in found]
                wanted = [run for walk in walks for run in walk.wanted(axes, found[walk.rule])]
                if wanted and level == levels[0]:
                    return wanted
                later += wanted
                for walk in walks:
                    found[walk.rule][size] = walk.found
            if later:
                return later
        seeds = len(study.seeds)
        warn_of_wide(
            found,
            self.within,
            f"Neither another place nor another of its seeds, {seeds} in all, would narrow them "
            "much: give the study more seeds, or ask for wider intervals",
            f"Refine(beyond=...), now {self.beyond:g}, or further values of the study",
        )
        return []


@lru_cache(maxsize=4096)
def _refined(
    places: tuple[float, ...],
    losses: bytes,
    failed: tuple[float, ...],
    start: Start,
    within: float,
    axis: Axis,
    step: float,
) -> Refined:
    """Return the refinement of one line.

    A search asks again for those that have not changed.
    """
    low, high = axis.ends
    # Where all fail, others would fail as well.
    lost = failed if places else ()
    below, above = ([x for x in lost if x < places[0]], [x for x in lost if x > places[-1]])
    # One failure may be chance, and is passed by; two may be all that lies beyond.
    low = max(below) if len(below) > 1 else low
    high = min(above) if len(above) > 1 else high
    return refinement(
        np.array(places, dtype=np.float64),
        np.frombuffer(losses, dtype=np.float64).reshape(-1 if places else 0, len(places)),
        start=start,
        within=within,
        step=step,
        low=low,
        high=high,
        lost=lost,
    )


class _Walk:
    """The search of one rule at one size, replayed from its results."""

    def __init__(self, search: Refine, table: Table, rule: str, size: Size, level: float) -> None:
        self.search, self.table, self.study = search, table, table.study
        self.rule, self.size = rule, size
        self.within, self.is_first = level * search.within, level == _LEVELS[0]
        self.found: dict[str, Optimum] = {}

    def wanted(self, axes: Sequence[Axis], smaller: Found) -> list[Run]:
        """Return the next runs; none where every optimum is known."""
        expected = {axis.name: start_at(axis, smaller, self.size) for axis in axes}
        point = dict(self.study.points()[0])
        point |= {axis.name: expected[axis.name].value for axis in axes}
        refined: dict[str, Point] = {}
        for cycle in range(_CYCLES):
            for axis in axes:
                others = {name: value for name, value in point.items() if name != axis.name}
                if refined.get(axis.name) == others:
                    continue
                start = self._again(axis) if cycle else expected[axis.name].start
                if runs := self._along(axis, point, start):
                    return runs
                refined[axis.name] = others
                point = {**point, axis.name: self._moved(axis, point)}
        return []

    def _along(self, axis: Axis, point: Point, start: Start) -> list[Run]:
        """Return the next runs along one axis; note its optimum."""
        line = self.table.line(self.rule, self.size, axis.name, point)
        if axis.scale == "choice":
            self.found[axis.name] = Optimum(value=line.best, status="choice")
            # A choice has no neighbours that tell of it: it gets all seeds.
            return self._new(axis, point, axis.values, len(self.study.seeds))
        begun = ~np.isnan(line.losses).all(1)
        refined = _refined(
            tuple(axis.place(value) for value in line.values),
            line.losses[begun].tobytes(),
            tuple(map(axis.place, line.failed)),
            start,
            self.within,
            axis,
            self.search.step or axis.step,
        )
        best = axis.value(start.mean) if line.best is None else line.best
        is_open = refined.status in {"open", "edge"}
        self.found[axis.name] = Optimum(
            value=best,
            place=refined.place,
            low=refined.low,
            high=refined.high,
            status="failed" if is_open and line.failed else refined.status,
        )
        if self.is_first and refined.status != "open":
            # More seeds and places wait until every size has an optimum.
            enough = len(line.values) >= _BRACKETED
            refined = replace(refined, reseed=(), proposals=() if enough else refined.proposals)
        added = [axis.value(place) for place in refined.proposals]
        again = [axis.value(place) for place in refined.reseed]
        return self._new(axis, point, added, self.search.seeds) + self._next_seed(
            axis, point, again
        )

    def _new(self, axis: Axis, point: Point, values: Sequence[Any], seeds: int) -> list[Run]:
        """Return the runs of the first seeds at some values that were not made."""
        runs = [
            Run(rule=self.rule, size=self.size, point={**point, axis.name: value}, seed=seed)
            for value in dict.fromkeys(values)
            for seed in self.study.seeds[:seeds]
        ]
        return [run for run in runs if not self.table.has(run)]

    def _next_seed(self, axis: Axis, point: Point, values: Sequence[Any]) -> list[Run]:
        """Return the runs of one more seed at all of these values, so that they are pairs."""
        for seeds in range(1, len(self.study.seeds) + 1):
            if runs := self._new(axis, point, values, seeds):
                return runs
        return []

    def _again(self, axis: Axis) -> Start:
        """Return where an optimum is expected once other hyperparameters moved."""
        known = self.found[axis.name]
        if not known.is_place:
            return Start(mean=axis.place(axis.centre), sd=axis.step)
        return Start(mean=known.place, sd=max(known.high - known.low, _NEAR))

    def _moved(self, axis: Axis, point: Point) -> Any:
        """Return the value to go on with: the best if the present one is out of reach."""
        known, value = self.found[axis.name], point[axis.name]
        if known.is_place and known.low <= axis.place(value) <= known.high:
            return value
        return value if known.value is None else known.value
