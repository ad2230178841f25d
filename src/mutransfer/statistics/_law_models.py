"""Models of a law: choices, each of which sets variances of parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from ._arrays import Array, Indices
from ._law_basis import INTERCEPT, LENGTHS, POWERS, Basis, Knee
from ._law_prior import AxisPrior, LawPrior

SHARES = {"linear": 0.4, "saturating": 0.25, "quadratic": 0.15, "wandering": 0.2, "knee": 0.6}
"""Prior weights of the laws along an axis that is not constant; few axes may have a knee."""

TAIL = 3.0
"""Multiple of the slope's standard deviation in the tail of its prior."""

PLACES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Doublings from the data's centre at which a knee may be."""

SHARPNESSES = (1.0, 2.0)
"""Inverse doublings over which a knee's slope falls."""

BENDS = {0.8: 0.8, 2.0: 0.2}
"""Multiples of the bend's standard deviation."""

WANDERS = {0.5: 0.35, 1.0: 0.5, 2.0: 0.15}
"""Multiples of a wandering slope's standard deviation."""

EFFECTS = {0.5: 0.3, 1.0: 0.3, 2.0: 0.25, 4.0: 0.15}
"""Multiples of the scatter's scale that effects of distinct values have."""

SMOOTH = {0.0: 0.4, 2.0: 0.25, 4.0: 0.2, 8.0: 0.15}
"""Multiples of the scatter's scale that a smooth departure from the law has."""

SCATTERS = {
    **{0.0: 0.1, 0.2: 0.11, 0.35: 0.1, 0.5: 0.1, 0.7: 0.1, 1.0: 0.1},
    **{1.4: 0.1, 2.0: 0.09, 2.8: 0.07, 4.0: 0.06, 6.0: 0.04, 10.0: 0.03},
}
"""Multiples of the scatter's scale that a size's own effect has."""

PRODUCTS = {0.0: 0.5, 1.0: 0.5}
"""Multiples of the standard deviation of a product's coefficient."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a choice.

    Attributes:
        weight: Its prior probability.
        variances: Variances of parts, by their numbers.
        means: Means of the coefficients of features, by their numbers.
        law: The law of an axis that it stands for.
    """

    weight: float
    variances: dict[int, float] = field(default_factory=dict)
    means: dict[int, float] = field(default_factory=dict)
    law: str = ""


Choices = tuple[tuple[Level, ...], ...]
"""The levels of every choice: the law along each axis, effects, products, scatter."""


def choices(basis: Basis, prior: LawPrior, varies: Sequence[bool]) -> Choices:
    """Return the choices that a model consists of.

    Args:
        basis: The parts.
        prior: The prior.
        varies: True for each axis along which the sizes differ.
    """
    laws = [tuple(_laws(basis, axis, prior.axes[axis], varies[axis])) for axis in range(basis.axes)]
    smooth = [
        Level(weight=weight, variances={basis.smooth(i): (multiple * prior.scatter) ** 2})
        for multiple, weight in SMOOTH.items()
        for i in range(len(LENGTHS))
    ]
    effects = [
        tuple(
            Level(weight=weight, variances={basis.effects(axis): (multiple * prior.scatter) ** 2})
            for multiple, weight in EFFECTS.items()
        )
        for axis in range(basis.axes)
        # Along a single axis the effect of a value is a size's own.
        if basis.axes > 1
    ]
    products = [
        tuple(_product(basis.product(i), *prior.products[pair]))
        for i, pair in enumerate(basis.pairs)
    ]
    scatter = tuple(
        Level(weight=weight, variances={basis.own: (multiple * prior.scatter) ** 2})
        for multiple, weight in SCATTERS.items()
    )
    # Along a single axis a slope that wanders is as smooth a departure.
    joint = [tuple(smooth)] if basis.axes > 1 else []
    return (*laws, *joint, *effects, *products, scatter)


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """Models as rows of variances and means.

    Attributes:
        picks: The level of each choice.
        variances: Variance of each part.
        means: Mean of the coefficient of each feature.
    """

    picks: Int[Indices, "models choices"]
    variances: Float[Array, "models parts"]
    means: Float[Array, "models features"]

    @classmethod
    def of(cls, basis: Basis, levels: Choices, picks: Int[Indices, "models choices"]) -> Models:
        """Return the models that take these levels."""
        variances = np.zeros((len(picks), basis.parts))
        means = np.zeros((len(picks), basis.count))
        variances[:, 0] = INTERCEPT**2
        for choice, column in zip(levels, picks.T, strict=True):
            v = np.zeros((len(choice), basis.parts))
            m = np.zeros((len(choice), basis.count))
            for i, level in enumerate(choice):
                for part, variance in level.variances.items():
                    v[i, part] = variance
                for part, mean in level.means.items():
                    m[i, part] = mean
            variances += v[column]
            means += m[column]
        return cls(picks=picks, variances=variances, means=means)

    def part(self, start: int, stop: int) -> Models:
        """Return some of the models."""
        some = slice(start, stop)
        return Models(
            picks=self.picks[some], variances=self.variances[some], means=self.means[some]
        )


def _laws(basis: Basis, axis: int, prior: AxisPrior, varies: bool) -> list[Level]:
    """Return the laws along an axis, each with its scales."""
    spreads = {1.0: 1 - prior.tail, TAIL: prior.tail}
    linear = [
        _slope(basis.linear(axis), prior, multiple, "linear", weight)
        for multiple, weight in spreads.items()
        if weight
    ]
    if not varies:
        # No law can be told from another, and a constant one would claim to know the slope.
        return linear
    levels = [_with(level, "linear", SHARES["linear"]) for level in linear]
    levels += [
        _slope(
            basis.saturating(axis, power),
            prior,
            multiple,
            "saturating",
            SHARES["saturating"] * weight / len(POWERS),
        )
        for power in range(len(POWERS))
        for multiple, weight in spreads.items()
        if weight and prior.saturates
    ]
    levels += [other for level in linear for other in _curved(basis, axis, prior, level)]
    levels += _knees(basis, axis, prior)
    moving = sum(level.weight for level in levels)
    still = prior.still / (1 - prior.still) * moving
    return [Level(weight=still, law="constant"), *levels]


def _curved(basis: Basis, axis: int, prior: AxisPrior, linear: Level) -> Iterator[Level]:
    """Yield the quadratic and the wandering laws, which bend a linear one."""
    square, walk = basis.square(axis), basis.walk(axis)
    for multiple, weight in BENDS.items():
        variances = {square: (multiple * prior.bend_spread) ** 2}
        share = SHARES["quadratic"] * weight
        yield _with(linear, "quadratic", share, variances, {square: prior.bend})
    for multiple, weight in WANDERS.items():
        variances = {walk: (multiple * prior.wander) ** 2}
        yield _with(linear, "wandering", SHARES["wandering"] * weight, variances)


def _knees(basis: Basis, axis: int, prior: AxisPrior) -> list[Level]:
    """Return the laws of an axis that have a knee, at each place and of each shape."""
    own = [i for i, knee in enumerate(basis.knees) if knee.axis == axis]
    mean, sd = prior.knee
    return [
        Level(
            weight=SHARES["knee"] / len(own),
            variances={basis.knee(i): sd**2},
            means={basis.knee(i): mean},
            law="knee",
        )
        for i in own
    ]


def knees(prior: LawPrior) -> tuple[Knee, ...]:
    """Return the knees that a prior allows, at every place and of every shape."""
    return tuple(
        Knee(axis=axis, moves=moves, place=place, sharpness=sharpness)
        for axis, options in prior.knees.items()
        for moves in options
        for place in PLACES
        for sharpness in SHARPNESSES
    )


def _slope(part: int, prior: AxisPrior, multiple: float, law: str, weight: float) -> Level:
    return Level(
        weight=weight,
        variances={part: (multiple * prior.spread) ** 2},
        means={part: prior.slope},
        law=law,
    )


def _with(
    level: Level,
    law: str,
    share: float,
    variances: dict[int, float] | None = None,
    means: dict[int, float] | None = None,
) -> Level:
    """Return a level with further parts, and its weight times a share."""
    return Level(
        weight=level.weight * share,
        variances=level.variances | (variances or {}),
        means=level.means | (means or {}),
        law=law,
    )


def _product(part: int, mean: float, sd: float) -> list[Level]:
    return [
        Level(
            weight=weight,
            variances={part: (multiple * sd) ** 2},
            means={part: mean} if multiple else {},
        )
        for multiple, weight in PRODUCTS.items()
    ]
