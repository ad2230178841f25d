"""Parts that laws are sums of: features, walks, effects, smooth departures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array

POWERS = (0.25, 0.5, 1.0, 2.0)
"""Powers p of the saturating law, limit + c / size^p."""

LENGTHS = (2.0, 4.0)
"""Doublings over which a smooth departure from the law changes (a Gaussian process)."""

INTERCEPT = 30.0
"""Standard deviation of the level: octaves beyond any range of places, so practically flat."""


@dataclass(frozen=True, kw_only=True)
class Knee:
    """A curve along an axis of slope 1 far below a place and 0 far above it.

    Attributes:
        axis: The axis.
        moves: Doublings of the place per doubling of each axis, 0 for the axis itself.
        place: The place at the centre, in doublings.
        sharpness: Inverse of the doublings over which the slope falls.
    """

    axis: int
    moves: tuple[float, ...]
    place: float
    sharpness: float

    def feature(self, z: Float[Array, "n axes"]) -> Float[Array, " n"]:
        """Return the curve at some sizes."""
        moved = z @ self.moves
        below = self.place - z[:, self.axis] + moved
        curve = -np.logaddexp2(0, self.sharpness * below) / self.sharpness
        # Slopes along the other axes are left to their own laws.
        return np.asarray(curve + self.slope * moved)

    @property
    def slope(self) -> float:
        """Slope along its axis at the centre; it has none along others."""
        return float(1 / (1 + 2 ** (-self.sharpness * self.place)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Parts of all laws over some axes.

    Sizes are in doublings from the data's centre. The features are 1; for each axis its log2 size,
    saturating curves of slope 1 at the data's smallest size, and the square; the products of pairs
    of axes.

    Attributes:
        starts: The data's smallest size along each axis, (axes,).
        pairs: Pairs of axes whose product is a feature.
        knees: Places and shapes of knees.
    """

    starts: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]
    knees: tuple[Knee, ...] = ()

    @property
    def axes(self) -> int:
        """Number of axes."""
        return len(self.starts)

    @property
    def per_axis(self) -> int:
        """Number of features of one axis."""
        return 2 + len(POWERS)

    @property
    def count(self) -> int:
        """Number of features."""
        return 1 + self.axes * self.per_axis + len(self.pairs) + len(self.knees)

    @property
    def parts(self) -> int:
        """Number of parts: features, walks, departures, effects, a size's own effect."""
        return self.count + 2 * self.axes + len(LENGTHS) + 1

    def linear(self, axis: int) -> int:
        """Return the number of an axis's linear feature."""
        return 1 + axis * self.per_axis

    def saturating(self, axis: int, power: int) -> int:
        """Return the number of an axis's saturating feature."""
        return self.linear(axis) + 1 + power

    def square(self, axis: int) -> int:
        """Return the number of an axis's quadratic feature."""
        return self.linear(axis) + 1 + len(POWERS)

    def product(self, pair: int) -> int:
        """Return the number of a pair's feature."""
        return 1 + self.axes * self.per_axis + pair

    def knee(self, number: int) -> int:
        """Return the number of a knee's feature."""
        return self.product(len(self.pairs)) + number

    def walk(self, axis: int) -> int:
        """Return the number of an axis's walk."""
        return self.count + axis

    def smooth(self, length: int) -> int:
        """Return the number of the smooth departure of a length."""
        return self.count + self.axes + length

    def effects(self, axis: int) -> int:
        """Return the number of the effects of an axis's distinct values."""
        return self.count + self.axes + len(LENGTHS) + axis

    @property
    def own(self) -> int:
        """Number of the effect that a size has of its own."""
        return self.parts - 1

    def derivatives(self, axis: int) -> Float[Array, " features"]:
        """Return the derivative of every feature along an axis at the centre."""
        slopes = np.zeros(self.count)
        slopes[self.linear(axis)] = 1
        for i, power in enumerate(POWERS):
            slopes[self.saturating(axis, i)] = 2.0 ** (power * self.starts[axis])
        for i, knee in enumerate(self.knees):
            slopes[self.knee(i)] = knee.slope * (knee.axis == axis)
        return slopes

    def features(self, z: Float[Array, "n axes"]) -> Float[Array, "features n"]:
        """Return all features at some sizes."""
        rows = [np.ones(len(z))]
        for x, start in zip(z.T, self.starts, strict=True):
            rows.append(x)
            rows += [(1 - 2.0 ** (-p * (x - start))) / (p * math.log(2)) for p in POWERS]
            rows.append(x**2)
        rows += [z[:, i] * z[:, j] for i, j in self.pairs]
        rows += [knee.feature(z) for knee in self.knees]
        return np.array(rows)

    def covariances(
        self, one: Float[Array, "n axes"], other: Float[Array, "m axes"]
    ) -> Float[Array, "parts n m"]:
        """Return the covariance that each part has at unit variance."""
        features = self.features(one)[:, :, None] * self.features(other)[:, None, :]
        pairs = [(x[:, None], y[None, :]) for x, y in zip(one.T, other.T, strict=True)]
        walks = [_integrated_walk(x, y) for x, y in pairs]
        squares = np.sum([(x - y) ** 2 for x, y in pairs], axis=0)
        smooth = [np.exp(-squares / (2 * length**2)) for length in LENGTHS]
        effects = [np.isclose(x, y, rtol=0, atol=1e-9).astype(float) for x, y in pairs]
        own = np.prod(effects, axis=0)
        return np.concatenate([features, np.array([*walks, *smooth, *effects, own])])


def _integrated_walk(x: Float[Array, "n 1"], y: Float[Array, "1 m"]) -> Float[Array, "n m"]:
    """Return the covariance of an integrated random walk that starts both ways from 0.

    Value and slope are 0 at 0; the slope's variance grows by 1 over one doubling.
    """
    near = np.minimum(np.abs(x), np.abs(y))
    far = np.maximum(np.abs(x), np.abs(y))
    return np.where(x * y > 0, near**2 * far / 2 - near**3 / 6, 0.0)
