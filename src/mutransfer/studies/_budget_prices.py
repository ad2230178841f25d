"""Prices: the cost of runs in the unit of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from numbers import Real
from typing import Any

from ..core import MutransferError
from ._budget import Budget
from ._budget_record import Decisions, Pace
from ._cost import flops
from ._models import Models
from ._run import Run
from ._shapes import Shape, shapes
from ._sizes import evaluations
from ._store import Store
from ._study import Study
from ._way import Way
from ._ways import choose_way

_FEW = 2
"""Runs at once with which a pace is measured, besides many."""

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
            return [_checked(unit(study, run), run) for run in runs]
        if unit == "runs":
            return [1.0] * len(runs)
        if unit == "steps":
            return [float(study.length(run)) for run in runs]
        of: dict[Run, float] = {}
        for shape in self._shapes(self._models.study, runs):
            pace, steps = self._pace(shape), study.length(shape.runs[0])
            count, looks = min(_MOST, together or len(shape.runs)), evaluations(study, shape.size)
            of |= dict.fromkeys(shape.runs, pace.price(steps, looks, count))
        return [of[run] for run in runs]

    def paces(self, study: Study, runs: Sequence[Run]) -> dict[str, Pace]:
        """Return the measured paces by their keys in a study with other steps."""
        if self.budget.unit != "seconds":
            return {}
        pairs = zip(self._shapes(self._models.study, runs), self._shapes(study, runs), strict=True)
        return {new.key: self._known[old.key] for old, new in pairs}

    def _pace(self, shape: Shape) -> Pace:
        """Return the pace of a shape: as it was decided once, or measured now."""
        if shape.key not in self._known:
            is_flops, one = self.budget.unit == "flops", shape.runs[0]
            if is_flops:
                pace = Pace(flops(self._models, one) / self._models.study.length(one))
            else:
                kept = {} if self._store is None else Decisions(self._store.folder).paces()
                pace = kept.get(shape.key) or self._measured(shape)
                if self._store is not None:
                    Decisions(self._store.folder).add_paces({shape.key: pace})
            self._known[shape.key] = pace
        return self._known[shape.key]

    def _measured(self, shape: Shape) -> Pace:
        """Return the pace of a shape, measured with many runs at once and with few."""
        study = self._models.study
        alike = [each for each in self._shapes(study, study.runs()) if each.key == shape.key]
        # A search may have gone where the study has no runs.
        runs = alike[0].runs[:_MOST] if alike else shape.runs
        many = self._way(shape.key, runs)
        pace = many.seconds or 0.0
        if len(runs) < 2 * _FEW:
            return Pace(pace, many.evaluation)
        few = self._way(shape.key, runs[:_FEW])
        times = _FEW * (few.seconds or 0.0), len(runs) * pace
        own = max(0.0, (times[1] - times[0]) / (len(runs) - _FEW))
        return Pace(own, many.evaluation, max(0.0, times[1] - len(runs) * own))

    def _shapes(self, study: Study, runs: Sequence[Run]) -> list[Shape]:
        """Return runs by shape; a pace is that of one device."""
        return shapes(study, runs, self._device)

    def _way(self, key: str, runs: Sequence[Run]) -> Way:
        return choose_way(self._models, Shape(key, tuple(runs)), self._device)


def _checked(cost: Any, run: Run) -> float:
    """Return the cost of a run by a function of one's own.

    Raises:
        MutransferError: it is no number from zero on.
    """
    if not isinstance(cost, Real) or not float(cost) >= 0:
        raise MutransferError(
            f"the budget's function returned {cost!r} for {run.rule} at {run.size}: a cost is a "
            "number that is not negative"
        )
    return float(cost)
