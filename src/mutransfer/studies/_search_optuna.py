"""Optuna as the proposer of points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import MEMORY, MutransferError, Size, needs, place_of, value_at
from ._metric import check_direction
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._search_axes import Axis, axes_of
from ._search_checks import is_count
from ._search_table import Table
from ._study import Study
from ._values import as_recorded

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True, kw_only=True)
class OptunaSearch:
    """Points from a sampler of Optuna, between the ends of the study's values.

    Sizes go from small to large; the best point of the size before is the first one of the next.
    Points are asked for in batches, which train together. The sampler is made anew from its seed
    and gets the results of the record, so that a sweep that is taken up again goes on as it was.

    Args:
        number: Number of points of each rule and size.
        batch: Number of points that are asked for at once.
        sampler: Makes a sampler from a seed, such as `lambda seed: optuna.samplers.GPSampler(
            seed=seed)`; TPE by default.
        seed: The sampler's seed.
        seeds: Number of the study's seeds at each point, whose mean loss counts.
        metric: Metric whose lowest value is searched for, as in `Runs.read`.
    """

    number: int
    batch: int = 8
    sampler: Callable[[int], optuna.samplers.BaseSampler] | None = None
    seed: int = 0
    seeds: int = 1
    metric: str = "mean"

    def __post_init__(self) -> None:
        for name in ("number", "batch", "seeds"):
            value = getattr(self, name)
            if not is_count(value):
                raise MutransferError(f"OptunaSearch({name}={value!r}): at least 1, and whole")
        check_direction(self.metric)
        if self.sampler is not None and not callable(self.sampler):
            raise MutransferError(
                f"sampler is {self.sampler!r}, which keeps what it drew: give a function of a seed "
                "that makes it"
            )

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return the next batch of points of the smallest size that is not finished."""
        with needs("the search", "optuna", "optuna"):
            import optuna  # noqa: F401
        axes, table = axes_of(study, 0.0), Table(study, runs.with_metric(self.metric))
        rules, sizes = [rule_name(rule) for rule in study.rules], study.sizes()
        begun = [number for number, size in enumerate(sizes) if table.points(rules[0], size)]
        # Sizes before the last one that was begun are finished.
        for number in range(max(begun, default=0), len(sizes)):
            before = sizes[number - 1] if number else None
            with _quiet():
                asked = [self._asked(axes, table, r, sizes[number], before) for r in rules]
            if wanted := [run for each in asked for run in each]:
                return wanted
        return []

    def _asked(
        self, axes: Sequence[Axis], table: Table, rule: str, size: Size, before: Size | None
    ) -> list[Run]:
        """Return the next runs of one rule at one size, after the results of those before."""
        import optuna

        make = self.sampler or (lambda seed: optuna.samplers.TPESampler(seed=seed))
        asked = optuna.create_study(sampler=make(self.seed))
        if before is not None and (best := _best(axes, table, rule, before)):
            asked.enqueue_trial(best)
        for start in range(0, self.number, self.batch):
            trials = [asked.ask() for _ in range(min(self.batch, self.number - start))]
            points = [_point(axes, table.study, trial) for trial in trials]
            seeds = table.study.seeds[: self.seeds]
            runs = [
                [Run(rule=rule, size=size, point=point, seed=seed) for seed in seeds]
                for point in points
            ]
            listed = list(dict.fromkeys(run for each in runs for run in each))
            if wanted := [run for run in listed if not table.has(run)]:
                return wanted
            for trial, each in zip(trials, runs, strict=True):
                loss = float(np.mean([table.loss(run) for run in each]))
                # Optuna knows no loss of a run that failed; one that diverged is the worst.
                failed = optuna.trial.TrialState.FAIL
                asked.tell(trial, **({"state": failed} if np.isnan(loss) else {"values": loss}))
        return []


def _point(axes: Sequence[Axis], study: Study, trial: optuna.Trial) -> Mapping[str, Any]:
    """Return the point of a trial."""
    return {**study.points()[0], **{axis.name: _suggested(axis, trial) for axis in axes}}


def _suggested(axis: Axis, trial: optuna.Trial) -> Any:
    if axis.scale == "choice":
        return axis.values[trial.suggest_categorical(axis.name, range(len(axis.values)))]
    low, high = axis.values[0], axis.values[-1]
    if axis.is_whole:
        return trial.suggest_int(axis.name, low, high)
    if axis.scale == MEMORY:
        # Optuna has no such scale: it is given the places.
        place = trial.suggest_float(axis.name, *(place_of(end, MEMORY) for end in (low, high)))
        return value_at(place, MEMORY)
    return trial.suggest_float(axis.name, low, high, log=axis.scale == "log2")


def _best(axes: Sequence[Axis], table: Table, rule: str, size: Size) -> dict[str, Any]:
    """Return the best point of a size, as samplers take it; empty if all diverged."""
    best = table.best(rule, size)
    if best is None:
        return {}
    return {axis.name: _parameter(axis, best[axis.name]) for axis in axes}


def _parameter(axis: Axis, value: Any) -> Any:
    """Return the number that stands for a value of the record."""
    if axis.scale == "choice":
        return list(map(as_recorded, axis.values)).index(value)
    return place_of(value, MEMORY) if axis.scale == MEMORY else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging every study that is made."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
