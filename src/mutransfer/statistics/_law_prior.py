"""Prior knowledge of how an optimum moves with size, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LAWS = ("constant", "linear", "saturating", "quadratic", "wandering", "knee")
"""Laws along one axis that are averaged, by name."""


@dataclass(frozen=True, kw_only=True)
class AxisPrior:
    """Prior of the law along one axis, in octaves and doublings of the axis.

    Attributes:
        slope: Mean of the slope at the data's centre.
        spread: Standard deviation of the slope.
        tail: Probability that the slope's standard deviation is three times as large.
        still: Probability of the constant law, of no slope at all.
        saturates: True if the optimum may approach a limit.
        bend: Mean of half the second derivative, of the quadratic law.
        bend_spread: Its standard deviation.
        wander: Standard deviation by which a slope that wanders changes over one doubling.
        knee: Mean and standard deviation of the slope below a knee, where the axis may have one.
    """

    slope: float = 0.0
    spread: float = 0.5
    tail: float = 0.25
    still: float = 0.2
    saturates: bool = True
    bend: float = 0.0
    bend_spread: float = 0.08
    wander: float = 0.1
    knee: tuple[float, float] = (0.7, 0.3)


@dataclass(frozen=True, kw_only=True)
class LawPrior:
    """Prior of the law over all axes.

    Attributes:
        axes: The prior along each axis.
        products: Mean and standard deviation of the coefficient of two axes' product, by their
            numbers; other pairs have none.
        knees: Axes along which the slope may end at a place, as a batch beyond the critical one no
            longer helps. For each, equally probable moves of this place: its doublings per doubling
            of every axis.
        scatter: Standard deviation of a typical size's own effect.
    """

    axes: tuple[AxisPrior, ...]
    products: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    knees: Mapping[int, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    scatter: float = 0.1
