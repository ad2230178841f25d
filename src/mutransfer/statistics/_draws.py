"""Joint draws of the optimum of a loss curve, its shape, factor and level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._candidates import Candidates, Single
from ._noise import Noise
from ._shapes import JUMP, Shapes, shapes

DRAWS = 512

WIDEST = 3.0
"""Largest sd of a factor, in typical excesses a unit: few values do not determine it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Draws from the posterior of a loss curve.

    Attributes:
        optima: Optima, in units of the scale.
        shapes: A shape each.
        amplitudes: Factors of the shapes.
        levels: Lowest losses.
    """

    optima: Float[Array, " draws"]
    shapes: Shapes
    amplitudes: Float[Array, " draws"]
    levels: Float[Array, " draws"]


def joint_draws(
    grid: Candidates,
    found: Noise,
    y: Float[Array, " values"],
    weights: Float[Single, "settings shapes candidates"],
    rng: np.random.Generator,
) -> Draws:
    """Return draws of settings, shapes and candidates, with levels and factors."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    uniform = (rng.permutation(DRAWS) + rng.random(DRAWS)) / DRAWS
    rows = np.searchsorted(cumulative, uniform * cumulative[-1])
    rows = np.minimum(rows, weights.size - 1)
    setting, shape, candidate = np.unravel_index(rows, weights.shape)
    chosen = shapes()[shape]
    optima = grid.at[candidate] + grid.spacing * (rng.random(DRAWS) - 0.5)
    distances = grid.x - optima[:, None]
    h, d = chosen.heights(distances), found.precisions[setting]
    # Values beyond a jump say nothing of its left side.
    beyond = (chosen.kind == JUMP)[:, None] & (distances > 0)
    d = np.where(beyond, 0.0, d)
    total = np.maximum(d.sum(1), 1e-300)
    h_mean, y_mean = (d * h).sum(1) / total, (d * y).sum(1) / total
    h_c = d * (h - h_mean[:, None])
    h_h = np.maximum((h_c * h).sum(1), 1 / WIDEST**2)
    fitted = (h_c * (y - y_mean[:, None])).sum(1) / h_h
    amplitudes = np.abs(fitted + rng.standard_normal(DRAWS) / np.sqrt(h_h))
    counted = beyond & (found.precisions[0] > 0)
    heights = (found.excess * counted).sum(1) / np.maximum(counted.sum(1), 1)
    return Draws(
        optima=optima,
        shapes=chosen.with_jumps(heights / np.maximum(amplitudes, 1e-300)),
        amplitudes=amplitudes,
        levels=y_mean - amplitudes * h_mean,
    )
