"""Prices: the cost of runs in the unit of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from ._ways import choose_way

_MOST = 32
"""Runs at once from which on the pace does not get better."""


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
        self._known: dict[str, Pace] = {}

    @property
    def amount(self) -> float:
        """The amount of the budget."""
        return self.budget.amount

    def costs(self, study: Study, runs: Sequence[Run]) -> list[float]:
        """Return the cost of each run with all before it."""
        return list(accumulate(self.each(study, runs)))

    def each(self, study: Study, runs: Sequence[Run], together: int | None = None) -> list[float]:
        """Return the cost of each run.

        Args:
            study: The study of the models, perhaps with other steps.
            runs: The runs.
            together: How many of one shape a search proposes at a time; all of them by default.
        """
        unit = self.budget.unit
        if callable(unit):
            return [float(unit(study, run)) for run in runs]
        if unit == "runs":
            return [1.0] * len(runs)
        if unit == "steps":
            return [float(study.length(run)) for run in runs]
        of: dict[Run, float] = {}
        for shape in shapes(self._models.study, runs):
            pace, steps = (
                self._pace(shape, together or len(shape.runs)),
                study.length(shape.runs[0]),
            )
            evaluations = 1 if study.evaluate is None else steps // study.evaluate
            of |= dict.fromkeys(shape.runs, steps * pace.step + evaluations * pace.evaluation)
        return [of[run] for run in runs]

    def paces(self, study: Study, runs: Sequence[Run]) -> dict[str, Pace]:
        """Return the measured paces by the keys that they have in a study with other steps."""
        if self.budget.unit != "seconds":
            return {}
        pairs = zip(shapes(self._models.study, runs), shapes(study, runs), strict=True)
        return {
            key.replace(old.key, new.key): pace
            for old, new in pairs
            for key, pace in self._known.items()
            if key.startswith(old.key)
        }

    def _pace(self, shape: Shape, together: int) -> Pace:
        """Return the pace of a shape: that which was decided once, or one that is measured now.

        A pace in FLOPs is the operations of a step.
        """
        count, one = _about(min(together, len(shape.runs))), shape.runs[0]
        if self.budget.unit == "flops":
            if shape.key not in self._known:
                per_step = flops(self._models, one) / self._models.study.length(one)
                self._known[shape.key] = Pace(per_step)
            return self._known[shape.key]
        # Few runs at once have a slower pace than many, as each step has its own cost.
        key = f"{shape.key}-{count}"
        if key not in self._known and self._store is not None:
            self._known |= Decisions(self._store.folder).paces()
        if key not in self._known:
            few = replace(shape, runs=shape.runs[:count])
            way = choose_way(self._models, few, self._device, thorough=False)
            self._known[key] = Pace(way.seconds or 0.0, way.evaluation)
            if self._store is not None:
                Decisions(self._store.folder).add_paces({key: self._known[key]})
        return self._known[key]


def _about(runs: int) -> int:
    """Return the power of two below a number of runs, 32 at most."""
    return min(_MOST, 1 << (runs.bit_length() - 1))
