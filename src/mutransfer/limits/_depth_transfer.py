"""Transfer from theory alone: whether the best hyperparameter moves with depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, OnProgress, Progress
from ..statistics import Array, hopeless
from ._landscape import Curve, Landscape, Landscapes, Metric, Points
from ._limit import Diverged
from ._linear import linear
from ._nonlinear import check_budget, check_infinite
from ._optimum import MOST, Scale, best_value, unsettled
from ._problem import Depth, Problem
from ._sampled_curve import SampledCurve, Value
from ._schedule import Schedule
from ._simulate import check_networks, simulate
from ._tasks import problem_of, settings_in

Vary = Callable[[Problem, float], Problem]
"""A function that sets one hyperparameter of a problem to a value."""

DEPTHS = (2, 4, 8, 16)
"""Depths where none are given, together with infinite depth if the problem has it."""

RATES = tuple(2.0**power for power in range(-11, 1))
"""Learning rates where none are given."""

SECONDS = 200.0
"""Time that sampled limits of a landscape may take where none is given."""

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
    seconds: float | None = SECONDS,
    compare: bool | None = None,
    progress: OnProgress | None = None,
) -> Landscapes:
    """Return the best learning rate at each depth, from theory alone.

    The first landscape is that of the problem. The comparison is the same network at the smallest
    depth, whose branches are not scaled as depth grows; its best rate runs away.

    >>> print(depth_transfer("digits, steps=3, examples=2", depth=[1, math.inf], compare=False))
    branches × 1/√depth: best lr by mean loss
      width  depth      optimum  lowest loss
        inf      1         2^-1        0.125
        inf    inf      2^-1.70        0.125

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
        accuracy: Accuracy of sampled limits, as of `landscape`.
        seconds: Time that sampled limits of both landscapes may take, as of `landscape`.
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
    return Landscapes(landscapes=tuple(_solved(jobs, seconds, progress)))


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
    seconds: float | None = SECONDS,
    progress: OnProgress | None = None,
) -> Landscape:
    """Return the loss of infinitely wide networks as a function of a hyperparameter.

    Nothing is trained for the limit; it takes the place of a sweep of infinitely many networks.
    Between the neighbours of the lowest loss further values are solved, until the optimum is
    settled to 1/64 of the distance of values, or known as well as the time allows.
    With branches of scale 1 / sqrt(depth) the optimum converges (2309.16620, Figure 1 for finite
    networks); without, it runs away.

    Args:
        problem: The network, its data and training.
        values: The hyperparameter's values, ascending.
        depth: Depths of the limit, ascending; math.inf among them.
        over: The hyperparameter: "lr", "momentum", "weight_decay", "gamma0" or "beta0", or a name
            and a function that sets it to those values or any between, such as ("half time",
            lambda problem, value: replace(problem, schedule=lambda step: 0.5 ** (step / value))).
        metric: The "mean" loss over all times, or the "final" one.
        width: Widths of finite networks to train as well, at every finite depth.
        seeds: Finite networks of each size.
        accuracy: Accuracy of sampled limits: half the 95% interval of the metric, as a share of the
            initial loss. Values are added, and those that may be the best sampled, until the
            optimum's interval is a quarter of the distance of values, too.
        seconds: Time that sampled limits may take; None for no end but the accuracy. Every value is
            sampled with few samples first, then those that may be the best. What is not reached is
            in the curves' errors and `unsettled`. Linear limits and finite networks do not count.
        progress: Called with the progress after every solution, or sampled repetition.

    Raises:
        MutransferError: there are no values or depths, they do not ascend, the hyperparameter is
            unknown, the accuracy or seconds are not positive, or infinite depth has no limit.
    """
    job = _Job(problem, over, values, depth, metric, width, seeds, accuracy)
    (found,) = _solved([job], seconds, progress)
    return found


@dataclass(frozen=True)
class _Job:
    """One call of `landscape`, by its arguments; they are checked when it is made."""

    given: Problem
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
        if not self.accuracy > 0:
            raise MutransferError(f"accuracy is {self.accuracy}: give a positive one")
        for size in self.depth:
            self.given.check_depth(size)
        for size, problem in product(self.depth, () if self.given.is_linear else self.problems):
            check_infinite(problem, size)
        # Before anything is solved: what cannot be trained would be found out at the end.
        for width, size in self.sizes:
            if not math.isinf(width):
                check_networks(self.given, int(width), int(size), range(self.seeds))
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

    @cached_property
    def grid(self) -> Float[Array, " values"]:
        """The values."""
        return np.array(self.values, dtype=np.float64)

    def problem(self, value: float) -> Problem:
        """Return the problem at a value."""
        return _varied(self.over)[1](self.given, value)

    @cached_property
    def problems(self) -> list[Problem]:
        """The problem at every given value."""
        return [self.problem(value) for value in self.grid.tolist()]

    @cached_property
    def sampled(self) -> list[SampledCurve]:
        """The curves that have to be sampled."""
        if all(problem.is_linear for problem in self.problems):
            return []
        return [self._sampled(depth) for depth in self.depth]

    def _sampled(self, depth: Depth) -> SampledCurve:
        def value(at: float) -> Value:
            return Value(self.problem(at), depth, self.metric, self.accuracy)

        return SampledCurve(self.grid, [value(at) for at in self.grid.tolist()], value)

    @property
    def solved(self) -> list[tuple[float, Depth]]:
        """Widths and depths that are not sampled."""
        return [size for size in self.sizes if not (self.sampled and math.isinf(size[0]))]

    @property
    def reserved(self) -> int:
        """Most further points of a curve that is not sampled."""
        return MOST if len(self.grid) > 2 else 0

    def exact(self, count: _Count) -> list[Curve]:
        """Return the curves that are not sampled; count every solution."""
        return [self._exact(width, depth, count) for width, depth in self.solved]

    def _exact(self, width: float, depth: Depth, count: _Count) -> Curve:
        """Solve at the given values, then between them until the optimum is settled."""
        scale, solved = Scale(self.grid), dict[float, tuple[float, float]]()
        remaining = iter(self.grid.tolist())
        value = next(remaining, None)
        while value is not None:
            solved[value] = self._loss(self.problem(value), width, depth)
            points, further = Points.of(solved), len(solved) - len(self.grid)
            value = next(remaining, None)
            if value is None:
                value = unsettled(scale, points.values, points.losses)
            spared = self.reserved - further if value is None else 0
            count(f"width {width:g}, depth {depth:g}", spared)
        best = best_value(points.values, points.losses)
        return Curve.of(self.grid, points, width=width, depth=depth, optimum=best)

    def landscape(self, exact: Sequence[Curve]) -> Landscape:
        """Return all curves, once the sampled ones are drawn."""
        pairs = zip(self.depth, self.sampled, strict=False)
        sampled = [self._curve(depth, curve) for depth, curve in pairs]
        return Landscape(
            problem=self.given,
            over=_varied(self.over)[0],
            values=self.grid,
            metric=self.metric,
            curves=(*sampled, *exact),
            accuracy=self.accuracy if sampled else None,
        )

    def _curve(self, depth: Depth, sampled: SampledCurve) -> Curve:
        losses, errors = sampled.losses, sampled.errors
        pairs = zip(sampled.grid.tolist(), sampled.values, strict=True)
        return Curve.of(
            self.grid,
            Points(values=sampled.grid, losses=losses, errors=errors),
            width=math.inf,
            depth=depth,
            optimum=best_value(sampled.grid, losses),
            interval=sampled.interval,
            unsettled=tuple(at for at, value in pairs if not value.settled),
        )

    def _loss(self, problem: Problem, width: float, depth: Depth) -> tuple[float, float]:
        """Return the metric and its error."""
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
            limit = linear(problem, depth)
        except Diverged:
            return math.inf, 0.0
        errors = np.broadcast_to(limit.losses_error, limit.losses.shape)
        if self.metric == "final":
            return float(limit.losses[-1]), float(errors[-1])
        # Errors of one run's times go together, so that of their mean is at most the mean error.
        return float(limit.losses.mean()), float(errors.mean())


def _solved(
    jobs: Sequence[_Job], seconds: float | None, progress: OnProgress | None
) -> list[Landscape]:
    """Return the landscapes of jobs that share one budget."""
    check_budget(seconds)
    total = sum(len(job.solved) * (len(job.grid) + job.reserved) for job in jobs)
    count = _Count(total, progress)
    exact = [job.exact(count) for job in jobs]
    if sampled := [curve for job in jobs for curve in job.sampled]:
        Schedule(sampled, seconds, progress).run()
    return [job.landscape(curves) for job, curves in zip(jobs, exact, strict=True)]


@dataclass
class _Count:
    """The number of solutions, reported after each.

    Attributes:
        total: Most that there may be.
        progress: Called with the progress.
        done: Those that are there.
    """

    total: int
    progress: OnProgress | None
    done: int = 0

    def __call__(self, what: str, spared: int) -> None:
        """Count one more; so many of those expected are not needed."""
        self.done, self.total = self.done + 1, self.total - spared
        if self.progress is not None:
            self.progress(Progress(what=what, done=self.done, total=self.total))


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
