"""Models of a law: choices, each of which sets variances of the parts that laws are sums of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from ._arrays import Array, Indices
from ._law_basis import INTERCEPT, POWERS, Basis
from ._law_prior import LAWS, AxisPrior, LawPrior

SHARES = dict(zip(LAWS, (0.2, 0.3, 0.15, 0.15, 0.2), strict=True))
"""Prior probability of each law along an axis."""

SPREADS = {1.0: 0.75, 3.0: 0.25}
"""Multiples of the slope's standard deviation: its prior has heavy tails."""

BENDS = {1.0: 0.7, 3.0: 0.3}
"""Multiples of the bend's standard deviation."""

WANDERS = {0.5: 0.35, 1.0: 0.35, 2.0: 0.2, 4.0: 0.1}
"""Multiples of a wandering slope's standard deviation."""

EFFECTS = {0.0: 0.4, 1.0: 0.3, 2.0: 0.2, 4.0: 0.1}
"""Multiples of the scatter's scale that effects of distinct values have."""

SCATTERS = {
    **{0.0: 0.1, 0.2: 0.15, 0.4: 0.15, 0.7: 0.15, 1.2: 0.15},
    **{2.0: 0.12, 3.5: 0.09, 6.0: 0.06, 10.0: 0.03},
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
    return (*laws, *effects, *products, scatter)


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
    linear = [
        _slope(basis.linear(axis), prior, multiple, "linear", weight)
        for multiple, weight in SPREADS.items()
    ]
    if not varies:
        # No law can be told from another, and a constant one would claim to know the slope.
        return linear
    square, walk = basis.square(axis), basis.walk(axis)
    levels = [Level(weight=SHARES["constant"], law="constant")]
    for level, (multiple, weight) in zip(linear, SPREADS.items(), strict=True):
        levels.append(_with(level, "linear", SHARES["linear"]))
        levels += [
            _slope(
                basis.saturating(axis, power),
                prior,
                multiple,
                "saturating",
                SHARES["saturating"] * weight / len(POWERS),
            )
            for power in range(len(POWERS))
        ]
        for bend, share in BENDS.items():
            variances = {square: (bend * prior.bend_spread) ** 2}
            levels.append(
                _with(
                    level, "quadratic", SHARES["quadratic"] * share, variances, {square: prior.bend}
                )
            )
        for wander, share in WANDERS.items():
            variances = {walk: (wander * prior.wander) ** 2}
            levels.append(_with(level, "wandering", SHARES["wandering"] * share, variances))
    return levels


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
