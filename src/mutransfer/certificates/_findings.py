"""Findings from the optima of a record: proxies, fast transfer, equal compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array, Posterior
from ._compute import Comparison, versus_direct
from ._costs import run_costs
from ._evidence import Evidence
from ._fast import FEWEST_SIZES, FastTransfer, fast_transfer
from ._grids import Grid
from ._proxy import Excess, Proxies, proxies, regret_draws
from ._scales import positions


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Findings from the optima of a rule.

    Attributes:
        proxies: The regret at the largest size of tuning at each smaller one.
        fast: Rates at which optimum and loss converge, along each axis with three sizes or more.
        versus: Tuning at the smallest size against tuning at the largest, at equal compute; None
            where there is one size, or its cost is not known.
    """

    proxies: Proxies
    fast: tuple[FastTransfer, ...]
    versus: Comparison | None


def findings(evidence: Evidence) -> Findings:
    """Return what follows from the optima of a rule."""
    random = np.random.default_rng(6)
    *smaller, largest = (posterior.optima for posterior in evidence.posteriors)
    # Sizes are independent of each other; the draws of the largest belong to its curve.
    optima = np.stack([*map(random.permutation, smaller), largest], axis=-1)
    excess = _excess(evidence.posteriors[-1], evidence.grids[-1], evidence.record.scale)
    return Findings(
        proxies=proxies(evidence.sizes, optima, excess),
        fast=tuple(_fast(evidence)),
        versus=_versus(evidence, optima, excess),
    )


def _excess(curve: Posterior, cells: Grid, scale: str) -> Excess:
    """Return the excess at the largest size; infinite where it is not known."""
    low, high = _reach(positions(cells.values, scale), np.isfinite(cells.losses.mean(0)))

    def excess(distances: Float[Array, " n"]) -> Float[Array, "draws n"]:
        places = curve.optima[:, None] + np.asarray(distances)[None, :]
        return np.where((places < low) | (places > high), np.inf, curve.excess(distances))

    return excess


def _reach(grid: Float[Array, " values"], trained: Array) -> tuple[float, float]:
    """Return the range of known losses: half a step beyond places that trained."""
    first, last = (int(i) for i in np.flatnonzero(trained)[[0, -1]])
    before, after = max(first - 1, 0), min(last + 1, len(grid) - 1)
    step = float(np.median(np.diff(grid)))
    low = (grid[first] + grid[before]) / 2 if first else grid[0] - step / 2
    high = (grid[last] + grid[after]) / 2 if last < len(grid) - 1 else grid[-1] + step / 2
    return float(low), float(high)


def _fast(evidence: Evidence) -> list[FastTransfer]:
    found = []
    largest = evidence.sizes[-1]
    for axis in largest:
        row = [
            number
            for number, size in enumerate(evidence.sizes)
            if size == largest.grown(**{axis: size[axis]})
        ]
        if len(row) >= FEWEST_SIZES:
            found.append(_fast_along(evidence, axis, row))
    return found


def _fast_along(evidence: Evidence, axis: str, row: list[int]) -> FastTransfer:
    """Return the rates along one axis, from the sizes that differ along it alone."""
    curves = [evidence.posteriors[number] for number in row]
    seeds = np.array([len(evidence.grids[number].seeds) for number in row])
    levels = np.array([curve.level for curve in curves])
    noise = np.array([curve.noise for curve in curves])
    # One seed shows no noise of its own.
    known = noise[np.isfinite(noise)]
    noise = np.where(np.isfinite(noise), noise, known.max() if len(known) else 1e-3 * levels)
    step = evidence.octave / 2
    curvature = float(np.mean(curves[-1].excess(np.array([-step, step])))) * 2 / step**2
    return fast_transfer(
        np.array([evidence.sizes[number][axis] for number in row], dtype=np.float64),
        np.array([curve.position for curve in curves]),
        np.array([curve.sd for curve in curves]),
        levels,
        np.maximum(np.abs(noise), 1e-9 * np.abs(levels)) / np.sqrt(seeds),
        curvature,
        axis,
    )


def _versus(
    evidence: Evidence, optima: Float[Array, "draws sizes"], excess: Excess
) -> Comparison | None:
    if len(evidence.sizes) < 2:
        return None
    try:
        costs, _ = run_costs(evidence.record.runs, evidence.record.rule)
    except MutransferError:
        return None
    small, large = evidence.grids[0], evidence.grids[-1]
    curve, grid = evidence.posteriors[-1], positions(large.values, evidence.record.scale)
    mean = large.losses.mean(0)
    finite = mean[np.isfinite(mean)]
    return versus_direct(
        regret_draws(optima[:, 0] - optima[:, -1], excess),
        curve.excess,
        (float(grid[0] - curve.position), float(grid[-1] - curve.position)),
        proxies=costs[small.size] * int(small.ran.sum()),
        target=costs[large.size],
        noise=curve.noise if np.isfinite(curve.noise) else 0.0,
        worst=float(finite.max() - finite.min()),
    )
