"""Axes of a search: places on the scale of a hyperparameter, and its values there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from ..core import MutransferError, Scale, place_of, value_at
from ._designs import OneAtATime
from ._hyperparameters import check_values, is_rate, neutral, scale_of, sets
from ._study import Study
from ._swept import designs

LADDER = 8
"""Places an octave, or a step of a linear scale.

Values repeat, so that runs of one place are pairs, and powers of two are the study's own.
"""

_COARSEST = 2.0
"""Largest first spacing, in octaves or steps."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A hyperparameter that is searched.

    Attributes:
        name: Its name.
        values: The study's values, ascending where they are numbers.
        scale: Its scale; the values of a "choice" are all tried.
        unit: The distance on the scale that counts as an octave: 1, or the step of a linear grid.
        centre: The value where the search begins.
        beyond: How far the search may go beyond the study's ends, in octaves or steps.
    """

    name: str
    values: tuple[Any, ...]
    scale: Scale
    unit: float
    centre: Any
    beyond: float

    @property
    def step(self) -> float:
        """The first spacing: the study's own, but from one to two octaves."""
        places = [self.place(value) for value in (self.values[0], self.values[-1])]
        own = (places[1] - places[0]) / (len(self.values) - 1)
        return min(max(1.0, own), _COARSEST)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest place that may be run."""
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        return self._reached(low, -1), self._reached(high, 1)

    def place(self, value: Any) -> float:
        """Return the place of a value, in octaves or steps."""
        return place_of(value, self.scale) / self.unit

    def value(self, place: float) -> Any:
        """Return the value of the ladder that is nearest to a place."""
        rung = round(place * LADDER) / LADDER
        own = [value for value in self.values if abs(self.place(value) - rung) < 1e-6]
        if own:
            return own[0]
        value = value_at(rung * self.unit, self.scale)
        return round(value) if self.is_whole else value

    @property
    def is_whole(self) -> bool:
        """True if only whole numbers have a meaning, such as steps of warm-up or heads."""
        return all(isinstance(value, int) for value in self.values)

    def _reached(self, end: float, side: int) -> float:
        """Return the last place beyond an end that the hyperparameter can have."""
        reached = end
        for rung in range(1, round(self.beyond * LADDER) + 1):
            place = end + side * rung / LADDER
            try:
                check_values(self.name, [self.value(place)])
            except MutransferError:
                break
            reached = place
        return reached


def axes_of(study: Study, beyond: float) -> list[Axis]:
    """Return the hyperparameters that a search can move, the rate first.

    Args:
        study: The study.
        beyond: How far the search may go beyond the ends of a log scale, in octaves. Along linear
            scales it goes as many steps; keywords of a builder stay within the study's values.

    Raises:
        MutransferError: no hyperparameter has two values or more.
    """
    centres = [each.centred(study.swept) for each in designs(study) if isinstance(each, OneAtATime)]
    found = [
        _axis(name, line, centres[0].get(name) if centres else None, beyond)
        for name, line in study.swept.items()
        if len(line) > 1
    ]
    if not found:
        raise MutransferError(
            "every hyperparameter has one value, so that there is nothing to refine: give the ends "
            "of a range, such as lr=log2(-10, -4)"
        )
    return sorted(found, key=lambda axis: axis.name != "lr")


def _axis(name: str, line: tuple[Any, ...], centre: Any, beyond: float) -> Axis:
    scale = scale_of(name, line)
    if centre is None:
        centre = neutral(name) if neutral(name) in line else line[len(line) // 2]
    # What a builder takes beyond the values that are given is not known.
    is_free = scale == "log2" or is_rate(name) or sets(name) != "builder"
    return Axis(
        name=name,
        values=line,
        scale=scale,
        unit=_unit(line) if scale == "linear" else 1.0,
        centre=centre,
        beyond=beyond if is_free else 0.0,
    )


def _unit(line: Sequence[float]) -> float:
    return float(median(upper - lower for lower, upper in pairwise(line)))
