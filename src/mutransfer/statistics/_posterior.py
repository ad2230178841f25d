"""The posterior of the optimum of one loss curve.

The model is loss_j = c + A h(x_j - x0) + e_j with shapes h of the prior; c and A are integrated in
closed form, x0 lies on a grid of candidates, and the noise on a few settings.

Axes: settings of the noise, shapes, candidates, values, draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from ..core import MutransferError
from ._arrays import Array
from ._candidates import MARGIN, candidates
from ._draws import DRAWS, joint_draws
from ._evidence import evidence
from ._noise import SHIFTED, noise, typical
from ._paired import Paired, paired
from ._shapes import Shapes, shapes

Status = Literal["inside", "edge", "flat", "diverged"]

CONFIDENCE = 0.95

BLUR = 0.11
"""Error of any place between measured values, in steps of them: sd."""

BEYOND = 0.25
"""Probability of an optimum beyond the measured values from which it is at the edge."""

SEED_OCTAVES = 0.2
"""Standard deviation of one seed's optimum that is assumed where there is one seed alone.

Between seeds of one size, optima had 0.16 to 0.23 octaves in sweeps of small networks.
"""

EVIDENCE = 5.0
"""Smallest log ratio of the evidence of a curve to that of a constant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Knowledge of the optimum of one loss curve.

    Attributes:
        places: Candidates of the optimum on the scale.
        density: Their probabilities.
        status: "inside"; "edge" where the optimum may well lie beyond the measured values; "flat"
            where the losses do not differ beyond their noise; "diverged" where none can be used.
        position: Mean.
        sd: Standard deviation.
        low, high: The shortest 95% interval.
        level: The lowest loss, its posterior median.
        noise: Sd of one run's loss at the optimum, over seeds; NaN for one seed.
        optima: Draws of the optimum, joint with the shapes of `excess`.
        shapes: The shape of every draw.
        amplitudes: The factor of every draw.
        unit: The unit of the scale.
    """

    places: Float[Array, " candidates"]
    density: Float[Array, " candidates"]
    status: Status
    position: float
    sd: float
    low: float
    high: float
    level: float
    noise: float
    optima: Float[Array, " draws"]
    shapes: Shapes
    amplitudes: Float[Array, " draws"]
    unit: float

    def excess(self, distances: Float[Array, " n"]) -> Float[Array, "draws n"]:
        """Return the loss above the lowest at these distances from the optimum."""
        scaled = np.asarray(distances, dtype=np.float64) / self.unit
        return self.amplitudes[:, None] * self.shapes.heights(scaled)


def posterior(
    places: Float[Array, " values"],
    losses: Float[Array, "seeds values"],
    *,
    shift: float = 0.2,
    unit: float = 1.0,
    run: Bool[Any, "seeds values"] | None = None,
) -> Posterior:
    """Return the posterior of the optimum of one loss curve.

    Args:
        places: At least two values of the hyperparameter, ascending: log2 of the rate, or numbers.
        losses: The loss of every seed at each of them; infinite or NaN where training diverged.
            Seeds shared between values are pairs: a seed's offset does not count as noise.
        shift: Sd of one seed's own optimum around that of the mean over seeds, in units. One seed
            cannot show it, so its posterior is widened by it; more seeds show it themselves.
        unit: The distance on the scale in which shapes are given: 1 for octaves.
        run: False where a seed was not run, which is no divergence; None: all were.

    Raises:
        MutransferError: the places do not ascend, or do not match the losses.
    """
    places, losses = _checked(places, losses, unit)
    data = paired(places, losses, run)
    if not data.usable.any():
        return _diverged(places, unit)
    origin, lowest = places[0], data.mean[data.usable].min()
    # Relative places are rounded, so that shifted grids share what is precomputed.
    grid = candidates(tuple(np.round((places - origin) / unit, 9)))
    bounds = ((data.low - origin) / unit, (data.high - origin) / unit)
    scale = typical(grid.x, data)
    found = noise(grid.x, data, scale, shift)
    y = np.where(data.usable, data.mean - lowest, 0.0) / scale
    result = evidence(grid, found, y, bounds)
    density = result.weights.sum((0, 1), dtype=np.float64)
    rng = np.random.default_rng(0)
    draws = joint_draws(grid, found, y, result.weights, rng)
    blur = BLUR * float(np.median(np.diff(grid.x)))
    widening = np.hypot(blur, SHIFTED * shift if data.is_lone else 0.0)
    density = _widened(density, grid.at, widening)
    optima = draws.optima + widening * rng.standard_normal(DRAWS)
    density = np.where((grid.at >= bounds[0]) & (grid.at <= bounds[1]), density, 0.0)
    density /= density.sum()
    low, high = np.clip(shortest(grid.at, density), *bounds)
    position = float(density @ grid.at)
    return Posterior(
        places=origin + unit * grid.at,
        density=density,
        status=_status(grid.x, grid.at, density, data, result.curve),
        position=origin + unit * position,
        sd=unit * float(np.sqrt(density @ (grid.at - position) ** 2)),
        low=float(origin + unit * low),
        high=float(origin + unit * high),
        level=float(lowest + scale * np.median(draws.levels)),
        noise=data.total,
        optima=origin + unit * np.clip(optima, *bounds),
        shapes=draws.shapes,
        amplitudes=scale * draws.amplitudes,
        unit=unit,
    )


def _checked(places: Array, losses: Array, unit: float) -> tuple[Array, Array]:
    places = np.asarray(places, dtype=np.float64)
    losses = np.atleast_2d(np.asarray(losses, dtype=np.float64))
    if places.ndim != 1 or len(places) < 2 or not (np.diff(places) > 0).all():
        raise MutransferError(f"places are {places.tolist()}: give at least two, ascending")
    if losses.ndim != 2 or losses.shape[1] != len(places) or not len(losses):
        raise MutransferError(
            f"losses have shape {losses.shape} at {len(places)} places: give (seeds, places)"
        )
    if not unit > 0:
        raise MutransferError(f"unit is {unit}: give a positive distance on the scale")
    return places, losses


def _widened(
    density: Float[Array, " candidates"], candidates: Float[Array, " candidates"], sd: float
) -> Float[Array, " candidates"]:
    """Return the density of a sum with a normal error."""
    distances = candidates - candidates[:, None]
    kernel = np.exp(-0.5 * (distances / sd) ** 2)
    return np.asarray(density @ (kernel / kernel.sum(1, keepdims=True)))


def shortest(
    candidates: Float[Array, " candidates"], density: Float[Array, " candidates"]
) -> tuple[float, float]:
    """Return the shortest interval of probability 0.95, interpolated."""
    spacing = candidates[1] - candidates[0]
    edges = np.append(candidates - spacing / 2, candidates[-1] + spacing / 2)
    cumulative = np.append(0.0, np.cumsum(density))
    lows = np.linspace(0, 1 - CONFIDENCE, 201)
    # A tiny slope keeps the inverse unique where the density is zero.
    rising = cumulative + 1e-12 * np.arange(len(edges))
    left, right = (np.interp(p, rising, edges) for p in (lows, lows + CONFIDENCE))
    best = int(np.argmin(right - left))
    return float(left[best]), float(right[best])


def _status(
    x: Float[Array, " values"],
    at: Float[Array, " candidates"],
    density: Float[Array, " candidates"],
    data: Paired,
    curve: float,
) -> Status:
    if curve < EVIDENCE:
        return "flat"
    beyond = 0.0
    if np.isinf(data.low):
        beyond += density[at < x[data.usable][0]].sum()
    if np.isinf(data.high):
        beyond += density[at > x[data.usable][-1]].sum()
    return "edge" if beyond > BEYOND else "inside"


def _diverged(places: Float[Array, " values"], unit: float) -> Posterior:
    """Return what is known where no value can be used: the optimum lies below all."""
    candidates = places[0] - unit * MARGIN * np.linspace(1, 0, 100)
    density = np.exp((candidates - places[0]) / unit)
    unknown = np.full(DRAWS, np.nan)
    return Posterior(
        places=candidates,
        density=density / density.sum(),
        status="diverged",
        position=np.nan,
        sd=np.nan,
        low=-np.inf,
        high=float(places[0]),
        level=np.nan,
        noise=np.nan,
        optima=unknown,
        shapes=shapes()[np.zeros(DRAWS, dtype=np.int64)],
        amplitudes=unknown,
        unit=unit,
    )
