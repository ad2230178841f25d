"""Powers of width in the errors of finite networks, with bootstrap intervals.

Axes: seeds (networks of one size), points (of a curve: times x examples of outputs, or times of
losses), widths. Errors are estimated as mean squares, from which the share of sampling noise is
subtracted; so an estimate may be negative where noise is larger than the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import Estimate
from ..statistics import Array, estimate, interval, power_law, resamples

Cell = tuple[int, int]
"""A size: width and depth."""

Curves = Mapping[Cell, Float[Array, "seeds points"]]
"""The curves of all networks of every size, equally many of each."""

RESAMPLES = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorSquares:
    """Mean square errors without the share of noise.

    Attributes:
        single: Mean square error of one network, by width, (widths,).
        bias: Mean square error of the mean over networks, by width, (widths,).
        one: Square of the constant of one network's law.
        mean: Square of the constant of the mean's law.
        depth: Square of the constant of the depth's law; not a number where depth was not varied.
    """

    single: Float[Array, " widths"]
    bias: Float[Array, " widths"]
    one: float
    mean: float
    depth: float = float("nan")


Estimator = Callable[[Curves, bool], ErrorSquares]
"""ErrorSquares of curves; True for resampled curves, whose means hold the noise of both draws."""


def errors_against(known: Mapping[float, Array], errors: Mapping[float, Array]) -> Estimator:
    """Return the estimator against a limit that is known.

    Args:
        known: The limit's curve for every depth, (points,).
        errors: Its standard errors.
    """

    def squares(curves: Curves, resampled: bool) -> ErrorSquares:
        widths, depths = sizes(curves)
        single, bias = np.zeros((2, len(widths), len(depths)))
        constants = []
        for j, depth in enumerate(depths):
            uncertain = float(np.mean(errors[depth] ** 2))
            networks = [curves[width, depth] for width in widths]
            offsets = [curve.mean(0) - known[depth] for curve in networks]
            spreads = [_of_mean(curve, resampled) for curve in networks]
            for i, curve in enumerate(networks):
                single[i, j] = np.mean((curve - known[depth]) ** 2) - uncertain
                bias[i, j] = np.mean(offsets[i] ** 2) - np.mean(spreads[i]) - uncertain
            constants.append(_constant(widths, offsets, spreads, uncertain))
        per_width = single.mean(1)
        return ErrorSquares(
            single=per_width,
            bias=bias.mean(1),
            one=float(np.mean(per_width * np.array(widths))),
            mean=float(np.mean(constants)),
        )

    return squares


def _constant(
    widths: Sequence[int], offsets: Sequence[Array], spreads: Sequence[Array], uncertain: float
) -> float:
    """Return the mean square of c in offset = c / width, at every point.

    Least squares with weights in proportion to the width, since variances fall as 1 / width.
    """
    inverse = sum(1 / width for width in widths)
    slope, variance = sum(offsets) / inverse, sum(spreads) / inverse**2
    limit = uncertain * (len(widths) / inverse) ** 2
    return float(np.mean(slope**2) - np.mean(variance) - limit)


def errors_against_fit(curves: Curves, resampled: bool) -> ErrorSquares:
    """Return squares against the limit that the curves themselves point to.

    The limit is a in a + b / width (+ c / depth), by least squares at every point. Weights are in
    proportion to the width.
    """
    widths, depths = sizes(curves)
    cells, deep = list(curves), len(depths) > 1
    rows = [[1.0, 1 / width] + ([1 / depth] if deep else []) for width, depth in cells]
    design, weights = np.array(rows), np.array([width for width, _ in cells], dtype=np.float64)
    weighted = weights[:, None] * design
    solve = np.linalg.solve(design.T @ weighted, weighted.T)
    means = np.stack([curves[cell].mean(0) for cell in cells])
    spread = np.stack([_of_mean(curves[cell], resampled) for cell in cells])
    fitted, variance = solve @ means, solve**2 @ spread
    squared = (fitted**2 - variance).mean(1)
    # The fitted limit holds the noise of all means. What a mean differs from it by is one linear
    # map of all means, so that the noise in the difference is known.
    at_limit = design.copy()
    at_limit[:, 1] = 0.0
    away = np.eye(len(cells)) - at_limit @ solve
    biases = ((away @ means) ** 2 - away**2 @ spread).mean(1)
    within = np.array([_of_one(curve, resampled).mean() for curve in curves.values()])
    single, bias = np.zeros((2, len(widths)))
    for i, width in enumerate(widths):
        of_width = [k for k, cell in enumerate(cells) if cell[0] == width]
        single[i] = np.mean(biases[of_width] + within[of_width])
        bias[i] = np.mean(biases[of_width])
    return ErrorSquares(
        single=single,
        bias=bias,
        one=float(np.mean(single * np.array(widths))),
        mean=float(squared[1]),
        depth=float(squared[2]) if deep else float("nan"),
    )


def _of_one(curve: Float[Array, "seeds points"], resampled: bool) -> Float[Array, " points"]:
    """Return the variance of one network.

    A resampled set has on average (n - 1) / n of it.
    """
    n = len(curve)
    return np.asarray(curve.var(0, ddof=1) * (n / (n - 1) if resampled else 1.0))


def _of_mean(curve: Float[Array, "seeds points"], resampled: bool) -> Float[Array, " points"]:
    """Return the variance of the mean over n networks.

    A resampled mean has the variance of the mean, and (n - 1) / n of it once more.
    """
    n = len(curve)
    return np.asarray(_of_one(curve, resampled) / n * (2 - 1 / n if resampled else 1.0))


def sizes(curves: Curves) -> tuple[list[int], list[int]]:
    """Return widths and depths, ascending."""
    return sorted({width for width, _ in curves}), sorted({depth for _, depth in curves})


@dataclass(frozen=True, kw_only=True)
class ErrorFit:
    """A fitted law of width.

    Attributes:
        errors: Root mean square error by width; 0 where noise is larger.
        slope: Fitted exponent; None where fewer than two errors are above noise.
        constant: Constant at theory's power.
    """

    errors: tuple[float, ...]
    slope: Estimate | None
    constant: Estimate


def fit_errors(
    curves: Curves, estimator: Estimator, *, samples: int = RESAMPLES
) -> dict[str, ErrorFit]:
    """Return the fitted laws by name; that of depth where it was varied.

    Args:
        curves: The networks' curves by size.
        estimator: `errors_against(known, errors)`, or `errors_against_fit`.
        samples: Bootstrap samples of the networks.
    """
    measured = estimator(curves, False)
    drawn = [estimator(sample, True) for sample in _resampled(curves, samples)]
    widths = np.array(sizes(curves)[0], dtype=np.float64)

    def constant(name: str) -> Estimate:
        value, *roots = (max(getattr(squares, name), 0.0) ** 0.5 for squares in (measured, *drawn))
        return estimate(value, np.array(roots))

    def fit(errors: str, name: str) -> ErrorFit:
        squares = getattr(measured, errors)
        resampled = np.array([getattr(each, errors) for each in drawn])
        roots = np.sqrt(np.maximum(squares, 0.0))
        return ErrorFit(
            errors=tuple(map(float, roots)),
            slope=_slope(widths, squares, resampled),
            constant=constant(name),
        )

    laws = {"one network": fit("single", "one"), "mean over networks": fit("bias", "mean")}
    if not np.isnan(measured.depth):
        laws["depth"] = ErrorFit(errors=(), slope=None, constant=constant("depth"))
    return laws


def _resampled(curves: Curves, count: int) -> Iterator[Curves]:
    """Yield bootstrap samples of the networks, independent for every size."""
    seeds = len(next(iter(curves.values())))
    picks = resamples(seeds, count * len(curves)).reshape(count, len(curves), seeds)
    for pick in picks:
        yield {cell: curve[rows] for (cell, curve), rows in zip(curves.items(), pick, strict=True)}


def _slope(
    widths: Float[Array, " widths"],
    squares: Float[Array, " widths"],
    resampled: Float[Array, "resamples widths"],
) -> Estimate | None:
    """Return the exponent of errors over widths, of those errors that are above noise."""
    low = np.array([interval(column)[0] for column in resampled.T])
    clear = (squares > 0) & (low > 0)
    if clear.sum() < 2:
        return None
    slopes = [
        power_law(widths[clear], np.sqrt(sample)).exponents[0]
        for sample in resampled[:, clear]
        if (sample > 0).all()
    ]
    value = power_law(widths[clear], np.sqrt(squares[clear])).exponents[0]
    return estimate(value, np.array(slopes))
