"""The optimum of a smooth, quiet loss curve from its few lowest points.

It is the prior in place of that of `posterior` where one run tells much: models trained for many
steps, whose noise is known and small and whose curve has no cliff near its optimum.

Axes: asymmetries, factors, candidates, points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array

SPACING = 0.02
"""Distance between candidates, in units."""

MARGIN = 2.0
"""Candidates reach this many units beyond a lowest point at an end."""

FAR = 0.1
"""Excess of log loss at which the error of the shape, as a share, has doubled."""

FACTORS = np.linspace(-2.5, 2.5, 11)
"""Logs of the factor of a curve, in standard deviations around its median."""


@dataclass(frozen=True, kw_only=True)
class SmoothCurve:
    """Prior of a smooth curve.

    Log loss is c + A d^2 exp(s d / 2) at distance d from the optimum, in units.

    Attributes:
        noise: Relative sd of one run's loss.
        misfit: Error of the shape, as a share of the excess over the lowest log loss.
        factor: Median of A, per unit squared.
        spread: Sd of log A.
        asymmetries: Equally probable values of s; positive ones are steeper on the right.
        points: Points that are used: the lowest, its neighbours, then the next lowest.
    """

    noise: float = 0.0007
    misfit: float = 0.15
    factor: float = 0.005
    spread: float = 0.6
    asymmetries: tuple[float, ...] = (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8)
    points: int = 5


LANGUAGE_MODELS = SmoothCurve()
"""The prior of language models of 0.2 to 0.4 billion parameters, over log2 of the rate."""


def few_points(
    places: Float[Array, " points"],
    logs: Float[Array, " points"],
    counts: Float[Array, " points"],
    bounds: tuple[float, float],
    prior: SmoothCurve,
) -> tuple[Float[Array, " candidates"], Float[Array, " candidates"]]:
    """Return candidates of the optimum and their probabilities.

    Candidates lie between the neighbours of the lowest point, as smooth curves have one minimum.

    Args:
        places: Places in units, ascending.
        logs: Mean log losses.
        counts: Seeds in each.
        bounds: Least and largest optimum.
        prior: The prior.
    """
    best = int(np.argmin(logs))
    low = places[best - 1] if best else places[0] - MARGIN
    high = places[best + 1] if best + 1 < len(places) else places[-1] + MARGIN
    at = np.arange(max(low, bounds[0]), min(high, bounds[1]) + SPACING / 2, SPACING)
    # Neighbours come first, so that points always lie on both sides of the lowest.
    order = np.lexsort((logs, np.abs(np.arange(len(logs)) - best) > 1))[: prior.points]
    used = np.sort(order)
    y = logs[used] - logs[best]
    d = 1 / (prior.noise**2 / counts[used] + (prior.misfit * y * (1 + y / FAR)) ** 2)
    scores = _log_likelihood(places[used] - at[:, None], y, d, prior)
    density = np.exp(scores - scores.max())
    return at, density / density.sum()


def _log_likelihood(
    distances: Float[Array, "candidates points"],
    y: Float[Array, " points"],
    d: Float[Array, " points"],
    prior: SmoothCurve,
) -> Float[Array, " candidates"]:
    """Return the log of the evidence of candidates, with any level c."""
    bend = np.array(prior.asymmetries)[:, None, None] * np.clip(distances, -4, 4) / 2
    h = distances**2 * np.exp(bend)
    h = h - (h @ d / d.sum())[..., None]
    z = y - y @ d / d.sum()
    factors = prior.factor * np.exp(prior.spread * FACTORS)[:, None, None]
    squares, products = h**2 @ d, (h * z) @ d
    logs = factors * products - factors**2 * squares / 2 - (FACTORS**2)[:, None, None] / 2
    return np.asarray(np.logaddexp.reduce(logs.reshape(-1, len(distances)), axis=0))
