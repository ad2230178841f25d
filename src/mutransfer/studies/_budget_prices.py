"""Prices: the cost of runs in the unit of a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ..core import MutransferError
from ._budget import Budget
from ._budget_record import Decisions, Pace
from ._cost import flops
from ._models import Models
from ._run import Run
from ._shapes import Shape, shapes
from ._store import Store
from ._study import Study
from ._ways import Way, choose_way


class Prices:
    """A budget with the price of every run.

    Times are those of a few measured steps. They are kept in the record's folder, so that a sweep
    that is taken up again decides alike.

    Args:
        budget: The budget.
        models: The models of the study.
        store: The record; None where nothing is to be kept.
        device: Where the runs train.

    Raises:
        MutransferError: the study trains in a function of its own, and the budget counts FLOPs or
            seconds.
    """

    def __init__(
        self, budget: Budget, models: Models, store: Store | None = None, device: str | None = None
    ) -> None:
        if models.study.train is not None and budget.unit in ("flops", "seconds"):
            raise MutransferError(
                f"a budget of {budget} needs models that the library trains, and the study trains "
                "in a function of its own: give the budget in runs or steps, such as '40runs'"
            )
        self.budget, self._models, self._store, self._device = budget, models, store, device
        self._known: dict[Run, Pace] = {}

    @property
    def amount(self) -> float:
        """The amount of the budget."""
        return self.budget.amount

    def costs(self, study: Study, runs: Sequence[Run]) -> list[float]:
        """Return the cost of each run with all before it."""
        return list(accumulate(self.each(study, runs)))

    def each(self, study: Study, runs: Sequence[Run]) -> list[float]:
        """Return the cost of each run.

        Args:
            study: The study of the models, perhaps with other steps.
            runs: The runs.
        """
        unit = self.budget.unit
        if callable(unit):
            return [float(unit(study, run)) for run in runs]
        if unit == "runs":
            return [1.0] * len(runs)
        if unit == "steps":
            return [float(study.length(run)) for run in runs]
        self._measure([run for run in runs if run not in self._known])
        return [self._price(study, run, self._known[run]) for run in runs]

    def paces(self, study: Study, runs: Sequence[Run]) -> dict[str, Pace]:
        """Return the paces of runs by the keys of their shapes in another study."""
        if self.budget.unit != "seconds":
            return {}
        return {each.key: self._known[each.runs[0]] for each in shapes(study, runs)}

    def _price(self, study: Study, run: Run, pace: Pace) -> float:
        steps = study.length(run)
        evaluations = 1 if study.evaluate is None else steps // study.evaluate
        return steps * pace.step + evaluations * pace.evaluation

    def _measure(self, runs: Sequence[Run]) -> None:
        """Find the pace of runs; a pace in FLOPs is the operations of a step."""
        study = self._models.study
        kept = {} if self._store is None else Decisions(self._store.folder).paces()
        new: dict[str, Pace] = {}
        for shape in shapes(study, runs):
            if self.budget.unit == "flops":
                one = shape.runs[0]
                pace = Pace(flops(self._models, one) / study.length(one))
            elif shape.key in kept:
                pace = kept[shape.key]
            else:
                way = self._way(shape)
                pace = new[shape.key] = Pace(way.seconds or 0.0, way.evaluation)
            self._known |= dict.fromkeys(shape.runs, pace)
        if new and self._store is not None:
            Decisions(self._store.folder).add_paces(new)

    def _way(self, shape: Shape) -> Way:
        """Return a way with its pace, that of the record where its shape has begun."""
        begun = self._begun().get(shape.key)
        way = None if begun is None else Way.from_json(begun)
        if way is not None and way.seconds is not None:
            return way
        return choose_way(self._models, shape, self._device, thorough=False)

    def _begun(self) -> Mapping[str, Mapping[str, object]]:
        is_open = self._store is not None and (self._store.folder / "study.json").exists()
        return self._store.ways() if is_open and self._store is not None else {}
