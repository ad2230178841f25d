"""The minimum of a smooth loss curve from its lowest points, with an error.

Axes: asymmetries, candidates, points.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mutransfer.core import MutransferError
from mutransfer.statistics import Array, infinite

POINTS = 5
"""Points around the lowest loss that are used: farther ones bend in ways of their own."""

ASYMMETRIES = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Relative changes of the curvature per unit of distance."""

NOISE = 0.0008
"""Relative noise of a loss, which a curve of one seed does not show: as of language models."""

MISFIT = 0.15
"""Error of the shape, as a share of the excess over the lowest loss."""

CURVATURE = (0.006, 0.7)
"""Median and sd of the logarithm of half the curvature of log loss, per unit squared."""

_STEP = 0.02


def vertex_posterior(
    places: Float[Array, " values"], losses: Float[Array, " values"]
) -> tuple[float, float]:
    """Return mean and standard deviation of the place of the lowest loss.

    Log loss is c + A d^2 exp(s d / 2) at distance d from the minimum, with c and A fitted, a
    log-normal prior on A and equally probable asymmetries s; candidates reach half a step beyond
    the points. It suits smooth curves of one seed with many steps of training each.

    Args:
        places: At least three places, ascending, in octaves.
        losses: One positive loss at each; infinite or NaN where training diverged.

    Raises:
        MutransferError: fewer than three losses are finite and positive.
    """
    losses = infinite(losses)
    usable = np.isfinite(losses) & (losses > 0)
    if usable.sum() < 3:
        raise MutransferError(f"losses are {losses.tolist()}: give at least 3 positive ones")
    x, y = np.asarray(places, dtype=np.float64)[usable], np.log(losses[usable])
    first = int(np.clip(np.argmin(y) - POINTS // 2, 0, max(len(x) - POINTS, 0)))
    x, y = x[first : first + POINTS], y[first : first + POINTS]
    margin = (x[-1] - x[0]) / (len(x) - 1)
    candidates = np.arange(x[0] - margin, x[-1] + margin, _STEP)
    distance = np.clip(x - candidates[:, None], -3, 3)
    heights = (x - candidates[:, None]) ** 2 * np.exp(
        np.array(ASYMMETRIES)[:, None, None] * distance / 2
    )
    precision = 1 / (NOISE**2 + (MISFIT * (y - y.min())) ** 2)
    logs = np.logaddexp.reduce(_evidence(heights, y, precision), axis=0)
    density = np.exp(logs - logs.max())
    density /= density.sum()
    mean = float(density @ candidates)
    return mean, float(np.sqrt(density @ (candidates - mean) ** 2))


def _evidence(
    heights: Float[Array, "asymmetries candidates points"],
    y: Float[Array, " points"],
    precision: Float[Array, " points"],
) -> Float[Array, "asymmetries candidates"]:
    """Return the log likelihood of shapes at their best level, with the prior."""
    total = precision.sum()
    h = heights - (heights @ precision / total)[..., None]
    z = y - y @ precision / total
    curvature = (h @ (z * precision)) / np.maximum(h**2 @ precision, 1e-12)
    residuals = z - curvature[..., None] * h
    median, sd = CURVATURE
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = -(((np.log(curvature) - np.log(median)) / sd) ** 2) / 2
    return np.where(curvature > 0, -(residuals**2 @ precision) / 2 + prior, -np.inf)
