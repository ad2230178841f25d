"""Evidence for shapes and candidates, level and factor integrated exactly.

Axes: K settings of the noise, S shapes, C candidates, n values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ._arrays import Array
from ._candidates import Candidates, Single
from ._noise import Noise

BEYOND_JUMP = 0.3
"""Sd of the change from value to value beyond a jump, as a share of the excess."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Posterior weights of settings, shapes and candidates.

    Attributes:
        weights: Their weights, the largest about 1, (settings, shapes, candidates).
        curve: Log of the ratio of the evidence of a curve to that of a constant loss.
    """

    weights: Float[Single, "K S C"]
    curve: float


def evidence(
    grid: Candidates, found: Noise, y: Float[Array, " n"], bounds: tuple[float, float]
) -> Evidence:
    """Return the posterior of settings, shapes and candidates.

    Args:
        grid: The candidates.
        found: The noise.
        y: Mean losses, in units of about their typical excess; zero where they are not used.
        bounds: Least and largest optimum.
    """
    z, constants = _smooth(grid, found, y)
    jumps = _jumps(grid, found, y) + np.log(grid.prior[-len(grid.jumps) :])
    inside = ((grid.at >= bounds[0]) & (grid.at <= bounds[1])).astype(np.float32)
    z *= inside
    best = float(np.max(constants + 0.5 * np.maximum(z, 0).max((1, 2)) ** 2))
    largest = max(best, float(jumps.max(where=inside > 0, initial=-np.inf)))
    heights = (constants - largest).astype(np.float32)[:, None, None]
    weights = np.empty((len(z), len(grid.prior), len(grid.at)), dtype=np.float32)
    weights[:, : z.shape[1]] = _above_zero(z, heights) * grid.prior[: z.shape[1]]
    weights[:, z.shape[1] :] = np.exp(np.where(inside > 0, jumps - largest, -np.inf))
    weights *= inside * np.exp(-grid.outside).astype(np.float32)
    total = float(np.log(np.maximum(weights.sum(dtype=np.float64), 1e-300)))
    return Evidence(weights, total + largest - float(np.logaddexp.reduce(constants)))


def _smooth(
    grid: Candidates, found: Noise, y: Float[Array, " n"]
) -> tuple[Float[Single, "K S C"], Float[Array, " K"]]:
    """Return factors over their errors, and the log evidence of a constant.

    These are products of matrices in single precision: the largest part of all that is computed.
    """
    d, settings = found.precisions, len(found.precisions)
    total = d.sum(1)
    x = grid.x - (d @ grid.x / total)[:, None]
    gain = 1 + found.tilts * (d * x**2).sum(1)
    # Precision matrix after the tilt and the level are integrated: diagonal minus two of rank one.
    slope = d * x * np.sqrt(found.tilts / gain)[:, None]
    level = d / np.sqrt(total)[:, None]
    d_y = d * y - (level @ y)[:, None] * level - (slope @ y)[:, None] * slope
    columns = np.concatenate([level, slope, d_y]).astype(np.float32)
    h_1, h_x, h_y = (columns @ grid.h).reshape(3, settings, -1)
    h_h = d.astype(np.float32) @ grid.h2
    h_h -= h_1 * h_1
    h_h -= h_x * h_x
    np.maximum(h_h, (1e-6 * total[:, None]).astype(np.float32), out=h_h)
    z = h_y / np.sqrt(h_h, out=h_h)
    used = d[0] > 0
    scale = np.log(d[:, used]).sum(1) - np.log(total) - np.log(gain)
    constants = found.logs + 0.5 * (scale - d_y @ y)
    return z.reshape(settings, -1, len(grid.at)), constants


def _jumps(grid: Candidates, found: Noise, y: Float[Array, " n"]) -> Float[Array, "K S C"]:
    """Return the evidence of jumps at the candidate.

    The values left of it are fitted; those on the right only have to be higher than the lowest.
    """
    used = found.precisions[0] > 0
    d = found.precisions[:, None] * grid.left
    total = np.maximum(d.sum(-1), 1e-12)
    x = grid.x - (d @ grid.x / total)[..., None]
    gain = 1 + found.tilts[:, None] * (d * x**2).sum(-1)
    slope = d * x * np.sqrt(found.tilts[:, None] / gain)[..., None]
    level = d / np.sqrt(total)[..., None]
    d_y = d * y - (level @ y)[..., None] * level - (slope @ y)[..., None] * slope
    h_1, h_x, h_y = (np.einsum("scn,kcn->ksc", grid.jumps, a) for a in (level, slope, d_y))
    h_h = np.einsum("scn,kcn->ksc", grid.jumps**2, d) - h_1**2 - h_x**2
    h_h = np.maximum(h_h, 1e-9 * total[:, None])
    right = used & (grid.left == 0)
    log_d = (np.log(np.where(used, found.precisions, 1))[:, None] * grid.left).sum(-1)
    log_d += _beyond(found, y, right)
    scale = log_d - np.log(total) - np.log(gain)
    constants = found.logs[:, None] + 0.5 * (scale - d_y @ y)
    lowest = (level @ y / np.sqrt(total))[:, None] - h_y / h_h * h_1 / np.sqrt(total)[:, None]
    error = 1 / total[:, None] + h_1**2 / (h_h * total[:, None])
    error = error + found.seed_noise.max(1)[:, None, None]
    nearest = np.where(right, y, np.inf).min(1)
    above = np.minimum((nearest - lowest) / np.sqrt(error), 1e3)
    z = np.minimum(h_y / np.sqrt(h_h), 1e3)
    logs = constants[:, None] + 0.5 * np.maximum(z, 0) ** 2 + _log_normal(above)
    logs += np.log(_above_zero(z, -0.5 * np.maximum(z, 0) ** 2))
    # Without a value on the right a jump is no different from a smooth shape, nor on the left.
    sides = right.any(1) & (used & (grid.left == 1)).any(1)
    return np.asarray(np.where(sides, logs, -np.inf))


def _beyond(found: Noise, y: Float[Array, " n"], right: Bool[Any, "C n"]) -> Float[Array, "K C"]:
    """Return twice the log density of losses beyond a jump.

    They are a random walk from an unknown start.
    """
    before, after = found.excess, np.roll(found.excess, -1)
    spread = BEYOND_JUMP * np.maximum(before, after)
    change = found.seed_noise + np.roll(found.seed_noise, -1, axis=1) + spread**2
    walk = -np.log(change) - (np.roll(y, -1) - y) ** 2 / change
    walk = np.roll(walk, 1, axis=1)
    first = right & ~np.roll(right, 1, axis=1)
    start = -np.log(found.seed_noise + np.maximum(found.excess, 1) ** 2) - 1
    return np.asarray(start @ first.T + walk @ (right & ~first).T)


def _above_zero(z: Any, heights: Any) -> Any:
    """Return e^heights times the integral over factors above zero.

    With z the best factor over its error it is e^(z^2 / 2) Phi(z), here to a few percent: cheap, as
    it is taken at every shape and candidate.
    """
    positive = np.maximum(z, 0)
    squares = positive * positive
    share = 0.5 / (1 + 0.9 * np.abs(z) + 1.2 * squares)
    squares *= 0.5
    squares += heights
    return np.exp(squares) * np.where(z > 0, 1 - share, share)


def _log_normal(z: Array) -> Array:
    """Return about the log of the normal distribution function."""
    return np.asarray(-np.logaddexp(0.0, -z * (1.5976 + 0.0706 * np.minimum(z * z, 25.0))))
