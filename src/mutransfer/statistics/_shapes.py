"""The prior over the shapes of loss curves, as data.

A shape h says how the loss rises with the distance d from the optimum, up to a factor; h(0) = 0.
Curvature that jumps at the optimum must be part of it: real curves are several times steeper on the
right, and without such shapes the interval of their optimum nearly always misses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from ._arrays import Array, Indices

POWERS = {1.0: 0.05, 1.5: 0.15, 2.0: 0.6, 3.0: 0.2}
"""Powers of the distance, of either side, with prior probabilities."""

STEEPNESS_SD, STEEPNESSES = 0.8, 11
"""Sd of the log of right over left, and the number of its values within 2.5 sd."""

RATES = (0.05, 0.2, 0.5, 1.0, 1.7, 3.0)
"""Rates of exponentials, per unit of the scale."""

HALFWIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Halves of the widths of plateaus, in units of the scale."""

REACHES = (0.7, 1.4, 2.8)
"""Distances over which saturating curves rise by half, in units of the scale.

The loss of rates that hardly train is that of no training, whatever the rate. Rates that are too
large often reach the loss of chance, so that a curve levels off on the right, too.
"""

RIGHTS = (0.25, 1.0, 4.0, 16.0, 64.0)
"""Curvatures of a right side that does not level off, over that of the left one."""

BEFORE = (0.0, 0.5, 1.0)
"""Distances of a jump before the place where its saturating left side would be lowest."""

SHARES = {"power": 0.2, "exponential": 0.53, "plateau": 0.08, "saturating": 0.05, "jump": 0.14}
"""Prior probabilities of the kinds."""

KINDS = tuple(SHARES)
JUMP = KINDS.index("jump")


@dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """A list of shapes, by the numbers in their formulas.

    Attributes:
        kind: Index into KINDS.
        numbers: (p left, p right, r) of exp(-r/2) |d|^p and exp(r/2) d^p; (k, m, -) of
            (k e^(m d) + m e^(-k d)) / (k + m) - 1; (w, -, -) of max(|d| - w, 0)^2; (w, c, v) of
            s(d) = d^2 / (1 + (d / w)^2) on the left and c d^2 on the right, which levels off with v
            for w unless v is zero; (p, b, 0) of |d|^p on the left and b on the right, jumps whose
            height b is found from the losses; (a, b, w) of jumps with s(|d| + a) - s(a) on the
            left.
        prior: Probabilities.
    """

    kind: Indices
    numbers: Float[Array, "shapes 3"]
    prior: Float[Array, " shapes"]

    def __len__(self) -> int:
        return len(self.prior)

    def __getitem__(self, chosen: Indices) -> Shapes:
        return Shapes(
            kind=self.kind[chosen], numbers=self.numbers[chosen], prior=self.prior[chosen]
        )

    def with_jumps(self, heights: Float[Array, " shapes"]) -> Shapes:
        """Return the shapes with the right sides of jumps at these heights."""
        numbers = self.numbers.copy()
        jumps = self.kind == JUMP
        numbers[jumps, 1] = heights[jumps]
        return Shapes(kind=self.kind, numbers=numbers, prior=self.prior)

    def heights(self, distances: Float[Array, "#shapes n"]) -> Float[Array, "shapes n"]:
        """Return every shape at these distances from the optimum, in units of the scale."""
        distances = np.broadcast_to(distances, (len(self), distances.shape[-1]))
        found = np.empty(distances.shape)
        for kind, height in enumerate(_HEIGHTS):
            chosen = self.kind == kind
            found[chosen] = height(self.numbers[chosen].T[..., None], distances[chosen])
        return found


def _power(numbers: Array, distances: Array) -> Array:
    left, right, steepness = numbers
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(distances))
    powers = np.where(distances < 0, left, right) * logs
    return np.asarray(np.exp(powers + np.sign(distances) * steepness / 2))


def _exponential(numbers: Array, distances: Array) -> Array:
    left, right, _ = numbers
    rising, falling = (np.exp(np.minimum(x * distances, 60)) for x in (right, -left))
    return np.asarray((left * rising + right * falling) / (left + right) - 1)


def _plateau(numbers: Array, distances: Array) -> Array:
    return np.asarray(np.maximum(np.abs(distances) - numbers[0], 0) ** 2)


def _saturating(numbers: Array, distances: Array) -> Array:
    left, right, reach = numbers
    rising = np.where(reach > 0, _bent(distances, reach), distances**2)
    return np.asarray(np.where(distances > 0, right * rising, _bent(distances, left)))


def _jump(numbers: Array, distances: Array) -> Array:
    first, height, reach = numbers
    away = np.abs(distances)
    bent = _bent(away + first, reach) - _bent(first, reach)
    left = np.where(reach > 0, bent, away**first)
    return np.asarray(np.where(distances > 0, height, left))


def _bent(distances: Array, reach: Array) -> Array:
    """Return squares that level off beyond a reach."""
    squares = distances**2
    return np.asarray(squares / (1 + squares / np.where(reach > 0, reach, 1.0) ** 2))


_HEIGHTS = (_power, _exponential, _plateau, _saturating, _jump)


@cache
def shapes() -> Shapes:
    """Return the prior over shapes; jumps come last, with a height of 1."""
    steepnesses = STEEPNESS_SD * np.linspace(-2.5, 2.5, STEEPNESSES)
    normal = np.exp(-0.5 * (steepnesses / STEEPNESS_SD) ** 2)
    chances = np.array(list(POWERS.values()))
    lists = {
        "power": [(p, q, r) for p in POWERS for q in POWERS for r in steepnesses],
        "exponential": [(k, m, 0.0) for k in RATES for m in RATES],
        "plateau": [(w, 0.0, 0.0) for w in HALFWIDTHS],
        "saturating": [
            *((w, c, 0.0) for w in REACHES for c in RIGHTS),
            *((w, 1.0, w) for w in REACHES),
        ],
        "jump": [*((p, 1.0, 0.0) for p in POWERS), *((b, 1.0, w) for b in BEFORE for w in REACHES)],
    }
    weights = {name: np.ones(len(rows)) for name, rows in lists.items()}
    weights["power"] = (chances[:, None, None] * chances[:, None] * normal).ravel()
    one_sided, both = len(REACHES) * len(RIGHTS), len(REACHES)
    weights["saturating"] = np.repeat([0.8 / one_sided, 0.2 / both], [one_sided, both])
    bent = np.full(len(BEFORE) * len(REACHES), 1 / len(BEFORE) / len(REACHES))
    weights["jump"] = np.concatenate([0.5 * chances, 0.5 * bent])
    return Shapes(
        kind=np.concatenate([np.full(len(lists[k]), i) for i, k in enumerate(KINDS)]),
        numbers=np.array([row for name in KINDS for row in lists[name]]),
        prior=np.concatenate([SHARES[k] * weights[k] / weights[k].sum() for k in KINDS]),
    )
