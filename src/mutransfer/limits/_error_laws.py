"""Powers of width in the errors of finite networks, with intervals over resampled networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._activations import Array

Cell = tuple[int, int]
"""Width and depth."""

Curves = Mapping[Cell, Float[Array, "seeds points"]]
"""The curves of all networks of every size."""

RESAMPLES = 400
_TAIL = 2.5
"""Percent left out at either end of an interval."""


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Mean square errors, with what noise adds to them taken off; an estimate may be negative.

    Attributes:
        single: Of one network, by width, (widths,).
        bias: Of the mean over networks, by width, (widths,).
        one: Square of the constant of one network's law.
        mean: Square of the constant of the mean's law.
        depth: Square of the constant of the depth's law; not a number where depth was not varied.
    """

    single: Float[Array, " widths"]
    bias: Float[Array, " widths"]
    one: float
    mean: float
    depth: float = float("nan")


Estimate = Callable[[Curves, bool], Squares]
"""Squares of curves; the second argument says whether these are resampled ones, whose means hold the noise of both draws."""


def against(known: Mapping[float, Array], errors: Mapping[float, Array]) -> Estimate:
    """Errors against a limit that is known for every depth (points,), with standard errors."""

    def estimate(curves: Curves, resampled: bool) -> Squares:
        widths, depths = sizes(curves)
        inverse = sum(1 / width for width in widths)
        single, bias, slopes = (
            np.zeros((len(widths), len(depths))),
            np.zeros((len(widths), len(depths))),
            [],
        )
        for j, depth in enumerate(depths):
            uncertain = float(np.mean(errors[depth] ** 2))
            off, spread = [], []
            for i, width in enumerate(widths):
                own = curves[width, depth]
                off.append(own.mean(0) - known[depth])
                spread.append(_of_mean(own, resampled))
                single[i, j] = np.mean((own - known[depth]) ** 2) - uncertain
                bias[i, j] = np.mean(off[-1] ** 2) - np.mean(spread[-1]) - uncertain
            # Least squares of off = slope / width, with weights in proportion to the width.
            slope, variance = sum(off) / inverse, sum(spread) / inverse**2
            slopes.append(
                np.mean(slope**2) - np.mean(variance) - uncertain * (len(widths) / inverse) ** 2
            )
        per_width = single.mean(1)
        return Squares(
            single=per_width,
            bias=bias.mean(1),
            one=float(np.mean(per_width * np.array(widths))),
            mean=float(np.mean(slopes)),
        )

    return estimate


def against_extrapolated(curves: Curves, resampled: bool) -> Squares:
    """Errors against the limit that the curves themselves point to, by least squares of a + b / width (+ c / depth) at every point."""
    widths, depths = sizes(curves)
    cells = list(curves)
    columns = [
        [1.0, 1 / width] + ([1 / depth] if len(depths) > 1 else []) for width, depth in cells
    ]
    design, weights = np.array(columns), np.array([width for width, _ in cells], dtype=np.float64)
    solve = np.linalg.solve(design.T @ (weights[:, None] * design), (weights[:, None] * design).T)
    means = np.stack([curves[cell].mean(0) for cell in cells])
    spread = np.stack([_of_mean(curves[cell], resampled) for cell in cells])
    fitted, variance = solve @ means, solve**2 @ spread
    squared = (fitted**2 - variance).mean(1)
    ends = design.copy()
    ends[:, 1] = 0.0
    # What a mean differs by from the limit that is fitted to all means: one linear map, so that its noise is known.
    away = np.eye(len(cells)) - ends @ solve
    biases = ((away @ means) ** 2 - away**2 @ spread).mean(1)
    within = np.array([_of_one(own, resampled).mean() for own in curves.values()])
    single, bias = np.zeros((2, len(widths)))
    for i, width in enumerate(widths):
        own = [k for k, cell in enumerate(cells) if cell[0] == width]
        single[i], bias[i] = np.mean(biases[own] + within[own]), np.mean(biases[own])
    return Squares(
        single=single,
        bias=bias,
        one=float(np.mean(single * np.array(widths))),
        mean=float(squared[1]),
        depth=float(squared[2]) if len(depths) > 1 else float("nan"),
    )


def _of_one(own: Float[Array, "seeds points"], resampled: bool) -> Float[Array, " points"]:
    """The variance of one network; a resampled set has on average (n - 1) / n of it."""
    return np.asarray(own.var(0, ddof=1) * (len(own) / (len(own) - 1) if resampled else 1.0))


def _of_mean(own: Float[Array, "seeds points"], resampled: bool) -> Float[Array, " points"]:
    """The variance of the mean over n networks; of a resampled mean, (2 n - 1) / n times as much."""
    return np.asarray(_of_one(own, resampled) / len(own) * (2 - 1 / len(own) if resampled else 1.0))


def sizes(curves: Curves) -> tuple[list[int], list[int]]:
    """Widths and depths, ascending."""
    return sorted({width for width, _ in curves}), sorted({depth for _, depth in curves})


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A constant, and a fitted power with its interval; None where fewer than two errors can be told from noise."""

    errors: tuple[float, ...]
    slope: tuple[float, float, float] | None
    constant: tuple[float, float, float]


def fits(curves: Curves, estimate: Estimate) -> dict[str, Fit]:
    """The laws of one network, of the mean over networks, and of depth where it was estimated."""
    found = estimate(curves, False)
    random = np.random.default_rng(0)
    samples = [
        estimate(
            {cell: own[random.integers(len(own), size=len(own))] for cell, own in curves.items()},
            True,
        )
        for _ in range(RESAMPLES)
    ]
    widths = np.log(sizes(curves)[0])

    def fit(errors: Array, resampled: Array, constant: float, constants: list[float]) -> Fit:
        clear = (
            (errors > 0) & (np.percentile(resampled, _TAIL, axis=0) > 0)
            if len(errors)
            else np.zeros(0, bool)
        )
        slope = None
        if clear.sum() > 1:
            slopes = [
                np.polyfit(widths[clear], np.log(each[clear]) / 2, 1)[0]
                for each in resampled
                if (each[clear] > 0).all()
            ]
            slope = _interval(
                float(np.polyfit(widths[clear], np.log(errors[clear]) / 2, 1)[0]), slopes
            )
        roots = [float(np.sqrt(max(each, 0.0))) for each in constants]
        return Fit(
            errors=tuple(map(float, np.sqrt(np.maximum(errors, 0.0)))),
            slope=slope,
            constant=_interval(max(constant, 0.0) ** 0.5, roots),
        )

    laws = {
        "one network": fit(
            found.single,
            np.array([each.single for each in samples]),
            found.one,
            [each.one for each in samples],
        ),
        "mean over networks": fit(
            found.bias,
            np.array([each.bias for each in samples]),
            found.mean,
            [each.mean for each in samples],
        ),
    }
    if not np.isnan(found.depth):
        laws["depth"] = fit(
            np.zeros(0), np.zeros((RESAMPLES, 0)), found.depth, [each.depth for each in samples]
        )
    return laws


def _interval(value: float, samples: list[float]) -> tuple[float, float, float]:
    low, high = np.percentile(samples, [_TAIL, 100 - _TAIL])
    return value, float(min(low, value)), float(max(high, value))
