"""The posterior of a law across sizes: slopes, scatter, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..core import Estimate
from ._arrays import Array
from ._law_basis import Basis
from ._law_data import Data, Functional, contrast, slope, values
from ._law_models import Choices, Models
from ._law_prior import LAWS
from ._mixture import below, moments, quantiles

TAIL = 0.025
"""Probability on each side of an interval."""

SURE = 0.95
"""Posterior probability from which an equivalence test decides."""

STRAIGHT = ("constant", "linear")
"""Laws whose slope is the same everywhere."""

CURVED = 4.0
"""Ratio of evidence for other laws from which a law counts as curved."""

_SMALLEST_SD = 1e-9
"""Standard deviation in place of none, as of the constant law's slope."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Places of the optimum at some sizes, in octaves; the axis is that of the sizes.

    Attributes:
        mean: Posterior means.
        sd: Posterior standard deviations.
        low: Lower ends of the central 95% intervals.
        high: Upper ends.
    """

    mean: Float[Array, " m"]
    sd: Float[Array, " m"]
    low: Float[Array, " m"]
    high: Float[Array, " m"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LawAverage:
    """The Bayesian average of laws of an optimum across sizes.

    Slopes are in octaves per doubling, at the centre of the data.

    Attributes:
        data: The optima.
        levels: The choices that a model consists of.
        centre: Log2 of the centre of the sizes.
        models: The models that hold nearly all of the posterior.
        weights: Their posterior probabilities.
    """

    data: Data
    levels: Choices
    centre: Float[Array, " axes"]
    models: Models
    weights: Float[Array, " models"]

    def __repr__(self) -> str:
        slopes = ", ".join(map(str, self.slopes))
        return f"LawAverage(slopes {slopes}, scatter {self.scatter}, {len(self.weights)} models)"

    @property
    def _basis(self) -> Basis:
        return self.data.basis

    @cached_property
    def _inverse(self) -> Float[Array, "models n n"]:
        return self.data.inverse(self.models)

    def _given(
        self, functional: Functional
    ) -> tuple[Float[Array, "models m"], Float[Array, "models m m"]]:
        return functional.given(self._inverse, self.data.residuals(self.models))

    def _parts(
        self, functional: Functional
    ) -> tuple[Float[Array, "models m"], Float[Array, "models m"]]:
        """Return the posterior mean and standard deviation of each model."""
        means, covariances = self._given(functional)
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        return means, np.sqrt(np.maximum(variances, _SMALLEST_SD**2))

    def _estimate(self, functional: Functional) -> Estimate:
        means, sds = self._parts(functional)
        mean, _ = moments(self.weights, means, sds)
        low, high = (quantiles(self.weights, means, sds, p) for p in (TAIL, 1 - TAIL))
        value = float(mean[0])
        return Estimate(value=value, low=min(float(low[0]), value), high=max(float(high[0]), value))

    @cached_property
    def slopes(self) -> tuple[Estimate, ...]:
        """Slope along each axis, in octaves per doubling at the data's centre."""
        return tuple(
            self._estimate(slope(self.data, self.models, axis)) for axis in range(self._basis.axes)
        )

    @cached_property
    def bends(self) -> tuple[Estimate, ...]:
        """Slope over the upper half of each axis's data less that over the lower half.

        It is in octaves per doubling. An interval that excludes 0 shows that the law is curved.
        """
        return tuple(self._bend(axis) for axis in range(self._basis.axes))

    @cached_property
    def curved(self) -> tuple[bool, ...]:
        """For each axis, True if the slope changes within the data: predictions may miss.

        It does where the 95% interval of `bends` excludes 0, or laws other than a constant and a
        straight one are four times as probable as before the data.
        """
        return tuple(self._curved(axis) for axis in range(self._basis.axes))

    def _curved(self, axis: int) -> bool:
        bend, shares = self.bends[axis], self.shares[axis]
        total = sum(level.weight for level in self.levels[axis])
        before = sum(level.weight for level in self.levels[axis] if level.law in STRAIGHT) / total
        after = min(max(sum(shares[law] for law in STRAIGHT), 1e-9), 1 - 1e-9)
        factor = (1 - after) / after * before / max(1 - before, 1e-9)
        return bend.low > 0 or bend.high < 0 or factor >= CURVED

    def _bend(self, axis: int) -> Estimate:
        half = -self._basis.starts[axis]
        if not self.informed[axis]:
            return Estimate(value=0.0, low=0.0, high=0.0)
        z = np.zeros((3, self._basis.axes))
        z[:, axis] = -half, 0, half
        law = values(self.data, self.models, z, own=False)
        return self._estimate(contrast(law, np.array([1.0, -2.0, 1.0]) / half))

    @cached_property
    def informed(self) -> tuple[bool, ...]:
        """For each axis, True if the sizes differ along it; else its slope is the prior's."""
        return tuple(start < 0 for start in self._basis.starts)

    @cached_property
    def separate(self) -> tuple[bool, ...]:
        """For each axis, True if it varies other than together with others.

        Slopes of axes that only vary together are told apart by the prior alone.
        """
        z = self.data.z
        design = np.column_stack([np.ones(len(z)), z])
        rank = np.linalg.matrix_rank(design)
        return tuple(
            bool(np.linalg.matrix_rank(np.delete(design, axis + 1, axis=1)) < rank)
            for axis in range(self._basis.axes)
        )

    @cached_property
    def shares(self) -> tuple[dict[str, float], ...]:
        """Posterior probability of each law, one dict an axis."""
        return tuple(
            self._share([level.law for level in self.levels[axis]], axis)
            for axis in range(self._basis.axes)
        )

    def _share(self, laws: list[str], axis: int) -> dict[str, float]:
        names = np.array(laws)[self.models.picks[:, axis]]
        return {law: float(self.weights[names == law].sum()) for law in LAWS}

    @cached_property
    def scatter(self) -> Estimate:
        """Standard deviation of a size's own effect beyond its error, in octaves."""
        own = self._basis.own
        sds = np.sqrt([level.variances[own] for level in self.levels[-1]])
        shares = np.bincount(self.models.picks[:, -1], self.weights, minlength=len(sds))
        # Every value of the grid stands for all that are nearer to it than to others.
        edges = np.concatenate([[0], (sds[1:] + sds[:-1]) / 2, [1.5 * sds[-1]]])
        ends = np.concatenate([[0], np.cumsum(shares)])
        low, high = np.interp([TAIL, 1 - TAIL], ends, edges)
        value = float(shares @ sds)
        return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))

    def differs(self, axis: int = 0) -> bool:
        """Return True if the slope's 95% interval excludes 0."""
        return self.slopes[axis].low > 0 or self.slopes[axis].high < 0

    def within(
        self, axis: int = 0, bound: float = 0.1
    ) -> Literal["within", "beyond", "cannot tell"]:
        """Return the equivalence test of a slope against +-bound octaves per doubling.

        "within" or "beyond" where the posterior probability of it is at least 95%.
        """
        means, sds = self._parts(slope(self.data, self.models, axis))
        ends = below(self.weights, means, sds, np.array([[bound], [-bound]]))
        inside = float(ends[0, 0] - ends[1, 0])
        if inside >= SURE:
            return "within"
        return "beyond" if inside <= 1 - SURE else "cannot tell"

    def predict(self, sizes: Float[Array, "m axes"]) -> Prediction:
        """Return the optimum at some sizes: law, scatter, and choice of law.

        Args:
            sizes: Log2 of the sizes, one row a target.
        """
        means, sds = self._parts(self._values(sizes))
        mean, sd = moments(self.weights, means, sds)
        low, high = (quantiles(self.weights, means, sds, p) for p in (TAIL, 1 - TAIL))
        middle = self.data.middle
        return Prediction(mean=mean + middle, sd=sd, low=low + middle, high=high + middle)

    def draws(
        self, sizes: Float[Array, "m axes"], count: int = 512, stream: int = 0
    ) -> Float[Array, "draws m"]:
        """Return draws of the optimum at some sizes, jointly over the sizes.

        Args:
            sizes: Log2 of the sizes, one row a target.
            count: Number of draws.
            stream: Number of the random sequence.
        """
        random = np.random.default_rng([7, stream])
        means, covariances = self._given(self._values(sizes))
        chosen = random.choice(len(self.weights), size=count, p=self.weights)
        normal = random.standard_normal((count, means.shape[1]))
        scales, axes = np.linalg.eigh((covariances + np.swapaxes(covariances, 1, 2)) / 2)
        roots = axes * np.sqrt(np.maximum(scales, 0))[:, None, :]
        moved = np.einsum("kij,kj->ki", roots[chosen], normal)
        return np.asarray(self.data.middle + means[chosen] + moved)

    def _values(self, sizes: Float[Array, "m axes"]) -> Functional:
        return values(self.data, self.models, np.asarray(sizes, dtype=np.float64) - self.centre)
