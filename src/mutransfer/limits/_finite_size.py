"""Finite networks against their limit: errors, fitted by powers of size.

Axes: seeds (networks of one size), points (of a curve: times x examples of outputs, or times of
losses).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, OnProgress, Progress, Size
from ..statistics import Array, diverged_at, power_law
from ..studies import Study, members, recipe
from ..training import train
from ._error_laws import (
    Cell,
    Curves,
    ErrorFit,
    errors_against,
    errors_against_fit,
    fit_errors,
    sizes,
)
from ._laws import FiniteSize, Law
from ._network import Trained, covariance
from ._problem import Problem
from ._simulate import simulate_each
from ._solve import solve

if TYPE_CHECKING:
    from torch import nn

Of = Literal["outputs", "losses", "features", "kernel"]

# Names of the limit's curve and of its error, by compared quantity.
_IN_LIMIT = {
    "outputs": ("outputs", "outputs_error"),
    "losses": ("losses", "losses_error"),
    "features": ("covariance", "features_error"),
    "kernel": ("tangent", "tangent_error"),
}

# A depth error counts once its square is this many times the variance of noise.
_CLEAR = 4


def finite_size(
    build: Problem | Callable[..., nn.Module],
    *,
    width: Sequence[int],
    depth: Sequence[int],
    seeds: int = 16,
    of: Of = "outputs",
    limit: Mapping[int, Array] | None = None,
    accuracy: float = 0.005,
    progress: OnProgress | None = None,
    **study: Any,
) -> FiniteSize:
    """Train finite networks, and fit how their error falls with size.

    One network is off by about N^-1/2, because its initial weights are one draw; the mean over
    networks by 1/N; finite depth by 1/L, proven for linear networks (2310.02244, Proposition 4.4).
    Powers are fitted as well as constants; the constants hold theory's powers.

    Args:
        build: A Problem, whose limit is solved; or a builder, called with width= and depth=. A
            builder's networks are trained by the library, all on the same batches, and their limit
            is extrapolated: losses are fitted by a + b / N + c / L at every step.
        width: At least two widths, ascending.
        depth: Depths, ascending.
        seeds: Networks of each size, at least 2.
        of: Compared quantity of a problem: "outputs"; "losses"; "features", the covariance <h h> of
            the last layer between examples at every time; or "kernel", the tangent kernel at every
            time. Of a builder it is the losses.
        limit: The limit's curve for every depth, where it is known otherwise: outputs
            (times * examples,), losses (times,), features or kernel (times * examples^2,).
        accuracy: Accuracy of a nonlinear problem's limit.
        progress: Called with the progress after every size.
        study: Further arguments of mutransfer.Study for a builder, such as task, lr (one rate),
            steps, rules (one rule).

    Raises:
        MutransferError: sizes or seeds are too few, a network diverged, or the study has several
            rates or rules.
    """
    _check_sizes(width, depth, seeds)
    if of not in _IN_LIMIT:
        raise MutransferError(f"of is {of!r}: give {', '.join(map(repr, _IN_LIMIT))}")
    if isinstance(build, Problem):
        if study:
            raise MutransferError(
                f"{', '.join(study)}: a problem knows its own training; leave these out"
            )
        cells = _with_progress(width, depth, progress)
        curves = {cell: _simulated(build, cell, seeds, of) for cell in cells}
    else:
        of, curves = "losses", _trained(build, width, depth, seeds, study, progress)
    _check_curves(curves)
    comparison = _compared(build, curves, of, limit, accuracy)
    return FiniteSize(
        of=of,
        limit=comparison.source,
        width=tuple(map(int, width)),
        depth=tuple(map(int, depth)),
        seeds=int(seeds),
        laws=comparison.laws,
        scale=float(np.sqrt(np.mean(comparison.limit**2))),
    )


def _check_sizes(width: Sequence[int], depth: Sequence[int], seeds: int) -> None:
    ascending = all(
        list(axis) == sorted(set(axis)) and axis[0] > 0 for axis in (width, depth) if len(axis)
    )
    if len(width) < 2 or not len(depth) or not ascending:
        raise MutransferError(
            f"width {list(width)}, depth {list(depth)}: "
            "give at least two widths and one depth, positive, ascending"
        )
    if seeds < 2:
        raise MutransferError(f"seeds is {seeds}: errors need at least 2 networks of each size")


def _with_progress(
    width: Sequence[int], depth: Sequence[int], progress: OnProgress | None
) -> Iterator[Cell]:
    """Yield every size; progress is reported once its networks are trained."""
    total = len(width) * len(depth)
    cells = ((wide, deep) for wide in width for deep in depth)
    for done, (wide, deep) in enumerate(cells, 1):
        yield wide, deep
        if progress is not None:
            progress(Progress(what=f"width {wide}, depth {deep}", done=done, total=total))


def _simulated(problem: Problem, cell: Cell, seeds: int, of: Of) -> Float[Array, "seeds points"]:
    examples = len(problem.targets)
    quantities: dict[Of, Callable[[Trained], Array]] = {
        "outputs": lambda run: run.outputs,
        "losses": lambda run: problem.losses(run.outputs),
        "features": lambda run: covariance(run.features[-1], examples),
        "kernel": lambda run: run.tangent,
    }
    return simulate_each(problem, *cell, seeds, quantities[of]).reshape(seeds, -1)


def _trained(
    build: Callable[..., nn.Module],
    width: Sequence[int],
    depth: Sequence[int],
    seeds: int,
    options: Mapping[str, Any],
    progress: OnProgress | None,
) -> dict[Cell, Float[Array, "seeds points"]]:
    """Return the losses of a builder's networks; NaN where one diverged."""
    if "lr" not in options:
        raise MutransferError(
            "a builder's networks need a learning rate: "
            "give lr=[rate], and what else mutransfer.Study takes"
        )
    study = Study(build, width=width, depth=depth, seeds=seeds, **options)
    if len(study.lr) > 1 or len(study.rules) > 1:
        raise MutransferError(
            "finite_size trains at one rate under one rule: give lr=[rate] and rules=[rule]"
        )
    curves = {}
    for cell in _with_progress(width, depth, progress):
        size = Size(width=cell[0], depth=cell[1])
        runs = [run for run in study.runs() if run.size == size]
        # The draws differ, the batches must not: errors are those of the draw and of the size.
        networks = [replace(member, seed=study.seeds[0]) for member in members(study, runs)]
        losses = train(networks, recipe(study, runs[0])).losses.numpy()
        diverged = np.array([step is not None for step in diverged_at(losses)])
        curves[cell] = np.where(diverged[:, None], np.nan, losses)
    return curves


def _check_curves(curves: Curves) -> None:
    for (width, depth), curve in curves.items():
        if bad := int((~np.isfinite(curve).all(1)).sum()):
            raise MutransferError(
                f"{bad} of {len(curve)} networks of width {width} and depth {depth} diverged; "
                "give a smaller lr"
            )


@dataclass(frozen=True)
class _Comparison:
    """Curves against a limit.

    Attributes:
        source: Origin of the limit.
        laws: The fitted laws.
        limit: The limit's curve at the largest depth, (points,).
    """

    source: Literal["theory", "given", "extrapolated"]
    laws: dict[str, Law]
    limit: Float[Array, " points"]


def _compared(
    build: object, curves: Curves, of: Of, limit: Mapping[int, Array] | None, accuracy: float
) -> _Comparison:
    _, depths = sizes(curves)
    if limit is not None:
        known = _given(limit, curves)
        exact = {depth: np.zeros(1) for depth in known}
        laws = _laws(fit_errors(curves, errors_against(known, exact)), curves)
        return _Comparison("given", laws, known[depths[-1]])
    if isinstance(build, Problem):
        return _against_theory(build, curves, of, accuracy)
    laws = _laws(fit_errors(curves, errors_against_fit), curves)
    return _Comparison("extrapolated", laws, curves[max(curves)].mean(0))


def _given(limit: Mapping[int, Array], curves: Curves) -> dict[float, Array]:
    """Return a given limit as one curve for every depth."""
    _, depths = sizes(curves)
    known: dict[float, Array] = {
        depth: np.asarray(limit[depth], dtype=np.float64).ravel()
        for depth in depths
        if depth in limit
    }
    shape = next(iter(curves.values())).shape[1:]
    good = all(curve.shape == shape and np.isfinite(curve).all() for curve in known.values())
    if len(known) < len(depths) or not good:
        raise MutransferError(
            f"limit must have a curve of {shape[0]} points for every depth, all finite"
        )
    return known


def _against_theory(problem: Problem, curves: Curves, of: Of, accuracy: float) -> _Comparison:
    """Compare networks with the limit of their depth, and it with infinite depth."""
    _, depths = sizes(curves)
    infinite = problem.alpha in (0.5, 1) or problem.is_noiseless
    infinite |= problem.is_linear and problem.alpha > 0
    solved = {
        depth: solve(problem, depth, accuracy=accuracy)
        for depth in [*depths, *([math.inf] if infinite else [])]
    }
    curve, error = _IN_LIMIT[of]
    known: dict[float, Array] = {
        depth: getattr(each, curve).ravel() for depth, each in solved.items()
    }
    errors = {
        depth: np.broadcast_to(getattr(each, error), getattr(each, curve).shape).ravel()
        for depth, each in solved.items()
    }
    laws = _laws(fit_errors(curves, errors_against(known, errors)), curves)
    if infinite:
        power = min(1.0, 2 * problem.alpha - 1) if problem.alpha > 0.5 else 1.0
        laws["depth"] = _depth_law(known, errors, depths, power)
    return _Comparison("theory", laws, known[depths[-1]])


def _laws(fitted: Mapping[str, ErrorFit], curves: Curves) -> dict[str, Law]:
    widths, depths = sizes(curves)
    return {
        name: Law(
            name=name,
            axis="depth" if name == "depth" else "width",
            power=0.5 if name == "one network" else 1.0,
            sizes=tuple(depths if name == "depth" else widths),
            errors=fit.errors or (0.0,) * len(depths),
            slope=fit.slope,
            constant=fit.constant,
        )
        for name, fit in fitted.items()
    }


def _depth_law(
    known: Mapping[float, Array], errors: Mapping[float, Array], depths: Sequence[int], power: float
) -> Law:
    """Return the law of finite depth, between limits of infinite width.

    Nothing is resampled here. The constant is that of the largest depth, where higher orders are
    smallest; its interval is the range over depths, with the noise of sampled limits.
    """
    noise = np.array([np.mean(errors[depth] ** 2 + errors[math.inf] ** 2) for depth in depths])
    distances = [float(np.mean((known[depth] - known[math.inf]) ** 2)) for depth in depths]
    squares = np.array(distances) - noise
    roots = np.sqrt(np.maximum(squares, 0.0))
    scale = np.array(depths, dtype=np.float64) ** power
    constants, spread = roots * scale, np.sqrt(noise) * scale
    clear = squares > _CLEAR * noise
    slope = None
    if clear.sum() > 1:
        exponent = power_law(np.array(depths)[clear], roots[clear]).exponents[0]
        slope = Estimate(value=exponent, low=math.nan, high=math.nan)
    return Law(
        name="depth",
        axis="depth",
        power=power,
        sizes=tuple(depths),
        errors=tuple(map(float, roots)),
        slope=slope,
        constant=Estimate(
            value=float(constants[-1]),
            low=float((constants - spread).min()),
            high=float((constants + spread).max()),
        ),
    )
