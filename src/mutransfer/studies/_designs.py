"""Designs: which points of the swept hyperparameters are run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from ..core import FrozenDict, MutransferError, place_of, value_at
from ._hyperparameters import checked_point, neutral, scale_of

Point = Mapping[str, Any]
"""A value for each swept hyperparameter."""

Values = Mapping[str, Sequence[Any]]
"""The values of each swept hyperparameter, ascending where they are numbers."""


class Design(Protocol):
    """A design: it makes points of the values of a study."""

    def points(self, values: Values) -> list[Point]:
        """Return the points to run."""
        ...


@dataclass(frozen=True)
class Grid:
    """Every combination of the values."""

    def points(self, values: Values) -> list[Point]:
        """Return all combinations, the last hyperparameter varying fastest."""
        return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


@dataclass(frozen=True)
class OneAtATime:
    """One hyperparameter at a time, the others at a centre (2203.03466, Figure 4).

    Args:
        centre: The value of each hyperparameter while the others vary. By default that which
            changes nothing where it is among the values, such as 1 for a multiplier, and otherwise
            the middle one.
    """

    centre: Mapping[str, Any] = FrozenDict()

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", checked_point(self.centre))

    def points(self, values: Values) -> list[Point]:
        """Return the centre, then the points along each hyperparameter."""
        centre = self.centred(values)
        lines = [{**centre, name: value} for name, line in values.items() for value in line]
        return _once([centre, *lines])

    def centred(self, values: Values) -> Point:
        """Return the centre of these values.

        Raises:
            MutransferError: the centre has a hyperparameter that is not swept.
        """
        if unknown := self.centre.keys() - values.keys():
            raise MutransferError(
                f"the centre has {', '.join(sorted(unknown))}, which the study does not sweep; "
                f"it sweeps {', '.join(values)}"
            )
        return {name: self.centre.get(name, _middle(name, line)) for name, line in values.items()}


@dataclass(frozen=True)
class Random:
    """Points drawn between the lowest and the highest value of each hyperparameter.

    Args:
        number: How many points.
        seed: The seed of the draw; the same seed gives the same points.
    """

    number: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise MutransferError(f"Random({self.number}): draw at least one point")

    def points(self, values: Values) -> list[Point]:
        """Return points drawn evenly on each scale; choices are drawn among the values."""
        generator = random.Random(self.seed)
        return [
            {name: _drawn(generator, name, line) for name, line in values.items()}
            for _ in range(self.number)
        ]


@dataclass(frozen=True)
class Points:
    """An explicit list of points.

    Args:
        listed: The points, such as {"lr": 2**-6, "readout": 4}; a hyperparameter that a point
            lacks has the value that changes nothing.
    """

    listed: Sequence[Point]

    def __post_init__(self) -> None:
        if not self.listed:
            raise MutransferError("Points([]): give at least one point")
        object.__setattr__(self, "listed", tuple(map(checked_point, self.listed)))

    def points(self, values: Values) -> list[Point]:
        """Return the listed points.

        Raises:
            MutransferError: a point lacks a hyperparameter that has no neutral value.
        """
        names = [*values, *dict.fromkeys(n for point in self.listed for n in point)]
        names = list(dict.fromkeys(names))
        return _once(
            [{name: self._value(point, name, values) for name in names} for point in self.listed]
        )

    def _value(self, point: Point, name: str, values: Values) -> Any:
        if name in point:
            return point[name]
        line = values.get(name, ())
        value = line[0] if len(line) == 1 else neutral(name)
        if value is None:
            raise MutransferError(f"the point {dict(point)} has no {name}: give it one")
        return value


def _middle(name: str, line: Sequence[Any]) -> Any:
    return neutral(name) if neutral(name) in line else line[len(line) // 2]


def _once(points: Sequence[Point]) -> list[Point]:
    return list(dict.fromkeys(FrozenDict(point) for point in points))


def _drawn(generator: random.Random, name: str, line: Sequence[Any]) -> Any:
    scale = scale_of(name, line)
    if scale == "choice" or len(line) == 1:
        return generator.choice(line)
    low, high = min(line), max(line)
    value = value_at(generator.uniform(place_of(low, scale), place_of(high, scale)), scale)
    # Among whole numbers, such as steps of warm-up or heads, only whole ones have a meaning.
    return round(value) if all(isinstance(each, int) for each in line) else value
