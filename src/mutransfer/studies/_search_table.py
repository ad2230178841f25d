"""Results of a search by rule, size, point and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Size
from ..statistics import Array, filled
from ._run import Run, size_of
from ._runs import Runs
from ._study import Study
from ._values import as_recorded

Point = Mapping[str, Any]
"""A value for each swept hyperparameter."""

_Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """Losses along one axis, the other hyperparameters held.

    Attributes:
        values: The values that were run, ascending where they are numbers.
        losses: NaN where a seed was not run, infinite where it diverged or was stopped.
        failed: Values of which all runs failed.
    """

    values: list[Any]
    losses: Float[Array, "seeds values"]
    failed: list[Any]

    @property
    def best(self) -> Any:
        """The value of lowest mean loss; None where all diverged or there is none.

        Seeds that a value lacks are filled, so that the luck of the others does not count.
        """
        if not self.values:
            return None
        means = filled(self.losses).mean(0)
        return self.values[int(np.argmin(means))] if np.isfinite(means).any() else None


class Table:
    """The results of a study's runs, failed ones without a loss.

    Args:
        study: The study.
        runs: Its runs so far, with the metric that is compared.

    Raises:
        MutransferError: the lowest metric shows no optimum.
    """

    def __init__(self, study: Study, runs: Runs) -> None:
        runs.check_comparable()
        self.study, self.names = study, list(study.points()[0])
        self._losses: dict[tuple[str, Size], dict[_Key, dict[int, float]]] = {}
        for row in runs.rows:
            loss = math.nan if row.get("status") == "failed" else runs.loss_of(row)
            size = size_of(row, runs.axes)
            key = tuple(row.get(name) for name in self.names)
            group = self._losses.setdefault((row["rule"], size), {})
            group.setdefault(key, {})[row["seed"]] = loss

    def points(self, rule: str, size: Size) -> Mapping[_Key, Mapping[int, float]]:
        """Return the losses at one size, by values of the point and seed."""
        return self._losses.get((rule, size), {})

    def has(self, run: Run) -> bool:
        """Return True if a run was made, also if it failed."""
        at_point = self.points(run.rule, run.size).get(self._key(run.point), {})
        return run.seed in at_point

    def loss(self, run: Run) -> float:
        """Return the loss of a run; NaN where it failed."""
        return self.points(run.rule, run.size)[self._key(run.point)][run.seed]

    def best(self, rule: str, size: Size) -> Point | None:
        """Return the point of lowest mean loss, as recorded; None where all diverged."""
        keys, means = list(self.points(rule, size)), self.means(rule, size)
        if not np.isfinite(means).any():
            return None
        return dict(zip(self.names, keys[int(np.argmin(means))], strict=True))

    def means(self, rule: str, size: Size) -> Float[Array, " points"]:
        """Return the mean loss of every point, seeds that it lacks filled."""
        return np.asarray(filled(self.losses(rule, size)).mean(0))

    def losses(self, rule: str, size: Size) -> Float[Array, "seeds points"]:
        """Return the losses of every point; NaN where a seed was not run."""
        points, seeds = self.points(rule, size).values(), self.study.seeds
        assert not isinstance(seeds, int)
        table = [[losses.get(seed, math.nan) for losses in points] for seed in seeds]
        return np.array(table, dtype=np.float64)

    def line(self, rule: str, size: Size, name: str, centre: Point) -> Line:
        """Return the losses along one hyperparameter through a point."""
        position, key = self.names.index(name), self._key(centre)
        found: dict[Any, Mapping[int, float]] = {
            other[position]: losses
            for other, losses in self.points(rule, size).items()
            if other[:position] == key[:position] and other[position + 1 :] == key[position + 1 :]
        }
        # Failed runs say nothing; a value of which all failed is not on the line.
        known = {v: ls for v, ls in found.items() if not all(map(math.isnan, ls.values()))}
        values = sorted(known) if all(isinstance(v, int | float) for v in known) else list(known)
        seeds = self.study.seeds
        assert not isinstance(seeds, int)
        table = [[known[value].get(seed, math.nan) for value in values] for seed in seeds]
        failed = [value for value in found if value not in known]
        return Line(values=values, losses=np.array(table, dtype=np.float64), failed=failed)

    def _key(self, point: Point) -> _Key:
        return tuple(as_recorded(point.get(name)) for name in self.names)
