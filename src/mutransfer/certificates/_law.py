"""The law of an optimum across sizes, and its prediction for a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size, varying
from ..statistics import Array, LawAverage, average_of_laws
from ._evidence import Evidence
from ._line import are_separate, logs, reaches
from ._priors import is_known, law_prior
from ._promises import without_promises
from ._scales import clipped

DRAWS = 512
"""Draws of the optimum at the target."""

BAND = 25
"""Places along an axis at which a figure shows the law."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """The law of one hyperparameter's optimum, and the target that it is asked for.

    Attributes:
        evidence: The optima.
        at: The target.
        axes: The axes along which sizes and target differ.
        average: The average of laws; None where there are none.
    """

    evidence: Evidence
    at: Size
    axes: tuple[str, ...]
    average: LawAverage | None

    @property
    def measured(self) -> int | None:
        """Number of the measured size that is the target, if one is."""
        sizes = self.evidence.sizes
        return sizes.index(self.at) if self.at in sizes else None

    @property
    def doublings(self) -> dict[str, float]:
        """Doublings of each axis from the largest value that was measured to the target's."""
        sizes = self.evidence.sizes
        return {
            axis: math.log2(self.at[axis] / max(size[axis] for size in sizes)) for axis in self.axes
        }

    @property
    def spans(self) -> dict[str, float]:
        """Doublings of each axis from the smallest size to the largest."""
        sizes = self.evidence.sizes
        return {
            axis: math.log2(max(s[axis] for s in sizes) / min(s[axis] for s in sizes))
            for axis in self.axes
        }

    @cached_property
    def drift(self) -> dict[str, Estimate]:
        """Distance that the optimum moves per doubling of each axis that was measured."""
        if self.average is None:
            return {}
        step = self.evidence.octave
        return {
            axis: _times(slope, step)
            for axis, slope in zip(self.axes, self.average.slopes, strict=True)
            if self.spans[axis] > 0
        }

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """The equivalence test of each drift, within 0.1 octave per doubling."""
        if self.average is None:
            return {}
        return {axis: self.average.within(self.axes.index(axis)) for axis in self.drift}

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """The posterior probability of each law, by axis."""
        if self.average is None:
            return {}
        shares = dict(zip(self.axes, self.average.shares, strict=True))
        return {axis: shares[axis] for axis in self.drift}

    @property
    def scatter(self) -> Estimate | None:
        """Standard deviation of a size's own effect beyond the noise of its optimum."""
        return None if self.average is None else _times(self.average.scatter, self.evidence.octave)

    def band(self, axis: str) -> tuple[tuple[float, Estimate], ...]:
        """Return the law along one axis through the target, for a figure."""
        values = [size[axis] for size in (*self.evidence.sizes, self.at)]
        places = np.geomspace(min(values), max(values), BAND)
        along = [Size({**self.at, axis: value}) for value in places]
        return tuple(zip(places.tolist(), self._predicted(along), strict=True))

    @cached_property
    def place(self) -> Estimate:
        """The optimum at the target, on its scale."""
        if (number := self.measured) is not None:
            best = self.evidence.optima[number]
            return Estimate(value=best.position, low=best.low, high=best.high)
        return self._predicted([self.at])[0]

    def _predicted(self, sizes: Sequence[Size]) -> list[Estimate]:
        assert self.average is not None, "a target that was not measured lies along an axis"
        found, step = self.average.predict(logs(sizes, self.axes)), self.evidence.octave
        rows = zip(found.mean, found.low, found.high, strict=True)
        over, scale = self.evidence.record.over, self.evidence.record.scale
        ends = ([clipped(step * float(end), over, scale) for end in row] for row in rows)
        return [Estimate(value=v, low=min(low, v), high=max(high, v)) for v, low, high in ends]

    @cached_property
    def draws(self) -> Float[Array, " draws"]:
        """Draws of the optimum at the target, on its scale."""
        if (number := self.measured) is not None:
            return self.evidence.posteriors[number].optima
        assert self.average is not None, "a target that was not measured lies along an axis"
        return self.evidence.octave * self.average.draws(logs([self.at], self.axes), DRAWS)[:, 0]

    @property
    def nearest(self) -> int:
        """Number of the size nearest to the target, whose curve stands for its own."""
        if not self.axes:
            return len(self.evidence.sizes) - 1
        away = np.abs(logs(self.evidence.sizes, self.axes) - logs([self.at], self.axes)).sum(1)
        return int(np.flatnonzero(np.isclose(away, away.min()))[-1])


def law(evidence: Evidence, target: Mapping[str, Any]) -> Law:
    """Return the law of the optima, for a target.

    Raises:
        MutransferError: nothing is known along an axis of the target.
    """
    sizes = evidence.sizes
    at = sizes[-1].grown(**target)
    axes = tuple(varying([*sizes, at]))
    _check_axes(evidence, at, axes)
    return Law(evidence=evidence, at=at, axes=axes, average=_average(evidence, axes))


def _average(evidence: Evidence, axes: Sequence[str]) -> LawAverage | None:
    if not axes:
        return None
    step, record = evidence.octave, evidence.record
    places = np.array([best.position for best in evidence.optima]) / step
    # With one seed its stated shift is part of each error, independently.
    errors = np.array([posterior.sd for posterior in evidence.posteriors]) / step
    prior = law_prior(record.over, axes)
    if record.over == "lr":
        prior = without_promises(prior, record.rule, axes)
    return average_of_laws(logs(evidence.sizes, axes), places, errors, prior)


def _check_axes(evidence: Evidence, at: Size, axes: Sequence[str]) -> None:
    """Raise if the target leaves the sizes along an axis of which nothing is known."""
    sizes, over = evidence.sizes, evidence.record.over
    fixed = [axis for axis in axes if axis not in varying(sizes)]
    for axis in fixed:
        if not is_known(over, axis):
            raise MutransferError(
                f"the sweep has one {axis} only, {sizes[-1][axis]}, and says nothing of {axis} "
                f"{at[axis]}: run two more of another {axis}"
            )
    moving = [axis for axis in axes if axis not in fixed]
    if not are_separate(sizes, moving) and not reaches(sizes, at, moving):
        raise MutransferError(
            f"{' and '.join(moving)} only vary together in this sweep, so that their drifts cannot "
            f"be separated for {at.along(moving)}: vary one alone"
        )


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(
        value=factor * estimate.value, low=factor * estimate.low, high=factor * estimate.high
    )
