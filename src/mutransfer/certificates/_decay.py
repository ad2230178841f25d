"""Power laws with a limit: c + A place^-p, fitted to few noisy values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..statistics import Array

DRAWS = 2000
"""Draws from a posterior."""

POWERS = (0.1, 4.0)
"""Smallest and largest power of a size, all equally likely in the logarithm."""

_CANDIDATES = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Decay:
    """Draws of a power law with a limit: end + drop * shape(place).

    The shape is 0 at the largest place and 1 at the smallest, so that neither number depends on the
    power much: a law that is nearly a logarithm has an amplitude and a limit beyond all bounds.

    Attributes:
        powers: The power p of each draw, (draws,).
        ends: The value at the largest place, (draws,).
        drops: The value at the smallest place above that, (draws,); negative where values rise.
        low: The smallest place.
        high: The largest place.
    """

    powers: Float[Array, " draws"]
    ends: Float[Array, " draws"]
    drops: Float[Array, " draws"]
    low: float
    high: float

    @property
    def amplitudes(self) -> Float[Array, " draws"]:
        """The factor A of place^-p, (draws,)."""
        return self.drops / (self.low**-self.powers - self.high**-self.powers)

    @property
    def limits(self) -> Float[Array, " draws"]:
        """The value at infinity, (draws,)."""
        return self.ends - self.amplitudes * self.high**-self.powers

    def at(self, places: Float[Array, " places"]) -> Float[Array, "draws places"]:
        """Return the values at other places."""
        powers, which = np.unique(self.powers, return_inverse=True)
        shapes = np.stack([_shape(places, power, self.low, self.high) for power in powers])
        return np.asarray(self.ends[:, None] + self.drops[:, None] * shapes[which])


def decay(
    places: Float[Array, " n"],
    values: Float[Array, " n"],
    errors: Float[Array, " n"],
    deviations: Float[Array, "draws n"] | None = None,
    powers: tuple[float, float] = POWERS,
) -> Decay:
    """Return draws from the posterior of a power law with a limit.

    Given the power, end and drop have a flat prior and are integrated out in closed form.

    Args:
        places: Positive places, at least two different ones.
        values: The values there.
        errors: Standard error of each, positive.
        deviations: Draws of what moves all values together, such as the choice of seeds.
        powers: Smallest and largest power.
    """
    random = np.random.default_rng(0)
    low, high = float(np.min(places)), float(np.max(places))
    candidates = np.geomspace(*powers, _CANDIDATES)
    shapes = np.stack([_shape(places, power, low, high) for power in candidates])
    ends, drops, spread = _solved(shapes, 1 / np.asarray(errors, dtype=np.float64) ** 2)
    left = values - (ends @ values)[:, None] - shapes * (drops @ values)[:, None]
    scores = -0.5 * ((left / errors) ** 2).sum(1) + 0.5 * np.log(np.linalg.det(spread))
    odds = np.exp(scores - scores.max())
    chosen = random.choice(_CANDIDATES, size=DRAWS, p=odds / odds.sum())
    moved = np.asarray(values) + (0.0 if deviations is None else deviations)
    noise = np.linalg.cholesky(spread)[chosen] @ random.standard_normal((DRAWS, 2, 1))
    return Decay(
        powers=candidates[chosen],
        ends=(ends[chosen] * moved).sum(1) + noise[:, 0, 0],
        drops=(drops[chosen] * moved).sum(1) + noise[:, 1, 0],
        low=low,
        high=high,
    )


def _solved(
    shapes: Float[Array, "powers n"], weights: Float[Array, " n"]
) -> tuple[Float[Array, "powers n"], Float[Array, "powers n"], Float[Array, "powers 2 2"]]:
    """Return end and drop as weights of the values, and their covariance."""
    one, line, square = weights.sum(), shapes @ weights, shapes**2 @ weights
    determinant = (one * square - line**2)[:, None]
    ends = weights * (square[:, None] - line[:, None] * shapes) / determinant
    drops = weights * (one * shapes - line[:, None]) / determinant
    ones = np.full_like(line, one)
    spread = np.stack([np.stack([square, -line], -1), np.stack([-line, ones], -1)], -2)
    return ends, drops, spread / determinant[..., None]


def _shape(
    places: Float[Array, " places"], power: float, low: float, high: float
) -> Float[Array, " places"]:
    """Return place^-power, scaled to 0 at the largest place and 1 at the smallest."""
    ends = low**-power - high**-power
    return np.asarray((np.asarray(places, dtype=np.float64) ** -power - high**-power) / ends)
