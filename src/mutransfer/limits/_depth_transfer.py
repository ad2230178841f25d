"""Transfer from theory alone: whether the best hyperparameter moves with depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, OnProgress, Progress
from ..statistics import Array, edge, hopeless, vertex
from ._landscape import Curve, Landscape, Landscapes, Metric, is_logarithmic
from ._limit import Diverged, Unsettled
from ._problem import Depth, Problem
from ._simulate import simulate
from ._solve import solve
from ._tasks import problem_of, settings_in

Vary = Callable[[Problem, float], Problem]
"""A function that sets one hyperparameter of a problem to a value."""

DEPTHS = (2, 4, 8, 16)
"""Depths where none are given, together with infinite depth if the problem has it."""

RATES = tuple(2.0**power for power in range(-11, 1))
"""Learning rates where none are given."""

_FIELDS = ("lr", "momentum", "weight_decay", "gamma0", "beta0")


def depth_transfer(
    problem: Problem | str = "digits",
    *,
    depth: Sequence[Depth] = (),
    over: str | tuple[str, Vary] = "lr",
    values: Sequence[float] = (),
    metric: Metric = "mean",
    width: Sequence[int] = (),
    seeds: int = 4,
    accuracy: float = 0.02,
    compare: bool | None = None,
    progress: OnProgress | None = None,
) -> Landscapes:
    """Return the best learning rate at each depth, from theory alone.

    The first landscape is that of the problem. The comparison is the same network at the smallest
    depth, whose branches are not scaled as depth grows; its best rate runs away.

    >>> print(depth_transfer("digits, steps=3, examples=2", depth=[1, math.inf], compare=False))
    branches × 1/√depth: best lr by mean loss
      width  depth      optimum  lowest loss
        inf      1      2^-1.39        0.125
        inf    inf      2^-2.32       0.1304

    Args:
        problem: A problem, or the name of a task with the settings that differ from
            `problem_of`'s, such as "digits, activation=tanh, alpha=1".
        depth: Depths in any order, math.inf among them; 2, 4, 8, 16 and, with depth scaling,
            infinity by default.
        over: The hyperparameter, as of `landscape`.
        values: Its values, ascending; 2^-11 to 1 for the learning rate by default.
        metric: The "mean" loss over all times, or the "final" one.
        width: Widths of finite networks to train as well, at every finite depth.
        seeds: Finite networks of each size.
        accuracy: Accuracy of nonlinear limits, as a share of the initial loss.
        compare: Solve the comparison without depth scaling, too. By default it is solved for a
            task whose alpha is not given; a Problem is solved as it is.
        progress: Called with the progress after every solution.

    Raises:
        MutransferError: an argument is out of range, or the values of another hyperparameter than
            the learning rate are missing.
    """
    if compare is None:
        compare = isinstance(problem, str) and "alpha" not in settings_in(problem)[1]
    first = problem_of(problem) if isinstance(problem, str) else problem
    if not len(values) and over != "lr":
        name = over if isinstance(over, str) else over[0]
        raise MutransferError(f"give the values of {name}, ascending")
    sizes = depth or (*DEPTHS, *([math.inf] if first.alpha else []))
    for size in sizes:
        first.check_depth(size)
    depths = sorted({size if math.isinf(size) else int(size) for size in sizes})
    problems = [(first, depths)]
    finite = [size for size in depths if not math.isinf(size)]
    # Varying beta0 would vary just what the comparison holds fixed.
    if compare and any(finite) and over != "beta0":
        problems.append((_unscaled(first, finite), finite))
    jobs = [
        _Job(varied, over, values or RATES, sizes, metric, width, seeds, accuracy)
        for varied, sizes in problems
    ]
    total, done, landscapes = sum(job.total for job in jobs), 0, []
    for job in jobs:
        landscapes.append(job.run(progress, done, total))
        done += job.total
    return Landscapes(landscapes=tuple(landscapes))


def _unscaled(problem: Problem, depths: Sequence[Depth]) -> Problem:
    """Return the problem without depth scaling, equal at its smallest depth above 0."""
    anchor = next(depth for depth in depths if depth)
    return replace(problem, alpha=0.0, beta0=problem.branch(anchor))


def landscape(
    problem: Problem,
    *,
    values: Sequence[float],
    depth: Sequence[Depth],
    over: str | tuple[str, Vary] = "lr",
    metric: Metric = "mean",
    width: Sequence[int] = (),
    seeds: int = 4,
    accuracy: float = 0.02,
    progress: OnProgress | None = None,
) -> Landscape:
    """Return the loss of infinitely wide networks as a function of a hyperparameter.

    Nothing is trained for the limit; it takes the place of a sweep of infinitely many networks.
    With branches of scale 1 / sqrt(depth) the optimum converges (2309.16620, Figure 1 for finite
    networks); without, it runs away.

    Args:
        problem: The network, its data and training.
        values: The hyperparameter's values, ascending.
        depth: Depths of the limit, ascending; math.inf among them.
        over: The hyperparameter: "lr", "momentum", "weight_decay", "gamma0" or "beta0", or a name
            and a function that sets it, such as ("half time", lambda problem, value:
            replace(problem, schedule=lambda step: 0.5 ** (step / value))).
        metric: The "mean" loss over all times, or the "final" one.
        width: Widths of finite networks to train as well, at every finite depth.
        seeds: Finite networks of each size.
        accuracy: Accuracy of nonlinear limits, as a share of the initial loss. Where it is not
            reached, as near divergence, the curve's errors show it.
        progress: Called with the progress after every solution.

    Raises:
        MutransferError: there are no values or depths, they do not ascend, or the hyperparameter is
            unknown.
    """
    job = _Job(problem, over, values, depth, metric, width, seeds, accuracy)
    return job.run(progress, 0, job.total)


@dataclass(frozen=True)
class _Job:
    """One call of `landscape`, by its arguments; they are checked when it is made."""

    problem: Problem
    over: str | tuple[str, Vary]
    values: Sequence[float]
    depth: Sequence[Depth]
    metric: Metric
    width: Sequence[int]
    seeds: int
    accuracy: float

    def __post_init__(self) -> None:
        _varied(self.over)
        if self.metric not in ("final", "mean"):
            raise MutransferError(f"metric is {self.metric!r}: give 'final' or 'mean'")
        for name, verb, given in (("values", "are", self.values), ("depth", "is", self.depth)):
            if not len(given) or list(given) != sorted(set(given)):
                raise MutransferError(f"{name} {verb} {list(given)}: give at least one, ascending")
        for size in self.depth:
            self.problem.check_depth(size)
        if len(self.width) and all(math.isinf(size) for size in self.depth):
            raise MutransferError(
                f"width {list(self.width)} has no finite depth to be trained at: "
                "give one as well as infinite depth"
            )

    @property
    def sizes(self) -> list[tuple[float, Depth]]:
        """Widths and depths: the limit, then finite networks."""
        finite = [size for size in self.depth if not math.isinf(size)]
        return [*product([math.inf], self.depth), *product(self.width, finite)]

    @property
    def total(self) -> int:
        """Number of solutions."""
        return len(self.sizes) * len(self.values)

    def run(self, progress: OnProgress | None, done: int, total: int) -> Landscape:
        """Solve for every size and value; `done` of `total` solutions are there already."""
        name, vary = _varied(self.over)
        grid, curves = np.array(self.values, dtype=np.float64), []
        for width, depth in self.sizes:
            losses, errors = np.zeros((2, len(grid)))
            for i, value in enumerate(grid):
                problem = vary(self.problem, float(value))
                losses[i], errors[i] = self._loss(problem, width, depth)
                done += 1
                if progress is not None:
                    what = f"width {width:g}, depth {depth:g}"
                    progress(Progress(what=what, done=done, total=total))
            optimum = _optimum(grid, losses)
            curve = Curve(width=width, depth=depth, losses=losses, errors=errors, optimum=optimum)
            curves.append(curve)
        return Landscape(
            problem=self.problem, over=name, values=grid, metric=self.metric, curves=tuple(curves)
        )

    def _loss(self, problem: Problem, width: float, depth: Depth) -> tuple[float, float]:
        """Return the metric and its standard error."""
        if math.isinf(width):
            return self._loss_of_limit(problem, depth)
        losses = problem.losses(simulate(problem, int(width), int(depth), self.seeds))
        metrics = losses[:, -1] if self.metric == "final" else losses.mean(1)
        if hopeless(losses[:, :1], losses).any():
            return math.inf, 0.0
        error = metrics.std(ddof=1) / self.seeds**0.5 if self.seeds > 1 else 0.0
        return float(metrics.mean()), float(error)

    def _loss_of_limit(self, problem: Problem, depth: Depth) -> tuple[float, float]:
        try:
            limit = solve(problem, depth, accuracy=self.accuracy)
        except Diverged:
            return math.inf, 0.0
        except Unsettled as error:
            limit = error.limit
        errors = np.broadcast_to(limit.losses_error, limit.losses.shape)
        if self.metric == "final":
            return float(limit.losses[-1]), float(errors[-1])
        # Errors of one run's times go together, so that of their mean is at most the mean error.
        return float(limit.losses.mean()), float(errors.mean())


def _varied(over: str | tuple[str, Vary]) -> tuple[str, Vary]:
    """Return the name of a hyperparameter, and the function that sets it."""
    if not isinstance(over, str):
        return over
    if over not in _FIELDS:
        raise MutransferError(
            f"unknown hyperparameter {over!r}; choose one of {', '.join(_FIELDS)}, "
            "or give a name and a function"
        )
    return over, lambda problem, value: replace(problem, **{over: value})


def _optimum(values: Float[Array, " values"], losses: Float[Array, " values"]) -> float | None:
    if len(values) < 3 or edge(losses):
        return None
    logarithmic = is_logarithmic(values)
    best = float(vertex(np.log2(values) if logarithmic else values, losses))
    return 2.0**best if logarithmic else best
