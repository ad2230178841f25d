"""Sampled limits in stages: few samples first, then as many as the accuracy takes.

A limit is a sum of means over independent repetitions, each times a weight: stacks of several
depths are extrapolated to infinite depth, and two numbers of samples to infinitely many. So the
errors of all parts are known from the spread of their repetitions.

Axes: T times; P examples; layers of one stack; repetitions.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..statistics import Array, student_t
from ._activations import ACTIVATIONS
from ._extrapolation import weights_of
from ._limit import Diverged
from ._problem import MEMORY, Depth, Problem
from ._site_runs import check_memory, fewest, gigabytes, kernels_of, run_sites
from ._sites import Apart, SiteDraw

NORMAL = 1.96
"""Quantile of the normal distribution: 95% of it lies within so many standard deviations."""

# Pilots of which some repetitions diverge are repeated with twice the samples, at most so often.
_SHIFTS = 2


@dataclass(frozen=True, eq=False)
class Repetition:
    """One sampled run of one stack.

    Attributes:
        outputs: Outputs, (times, examples).
        losses: Mean losses, (times,).
        kernels: Kernels by name, as in `Limit`; empty where they are not wanted.
    """

    outputs: Array
    losses: Array
    kernels: dict[str, Array]

    def less(self, other: Repetition) -> Repetition:
        """Return the difference of outputs and losses."""
        return Repetition(self.outputs - other.outputs, self.losses - other.losses, {})


Of = Callable[[Repetition], Array]
"""The part of a repetition that is averaged, linear in it."""


@dataclass(frozen=True, eq=False)
class Group:
    """Repetitions of one kind, whose mean has a weight in a sum.

    Attributes:
        weight: Weight of their mean.
        repetitions: The repetitions.
        others: Repetitions with more samples, whose variance times the ratio is the least that
            these are given: variances are in proportion to 1 / samples.
        ratio: How many times as many samples the others have.
    """

    weight: float
    repetitions: list[Repetition]
    others: list[Repetition] | None = None
    ratio: float = 1.0

    def variance(self, of: Of) -> Array:
        """Return the variance of one repetition."""
        variance = np.asarray(_stacked(self.repetitions, of).var(0, ddof=1))
        if self.others is None:
            return variance
        least = self.ratio * _stacked(self.others, of).var(0, ddof=1)
        return np.asarray(np.maximum(variance, least))


def _stacked(repetitions: Sequence[Repetition], of: Of) -> Array:
    return np.stack([of(each) for each in repetitions])


@dataclass(eq=False)
class Stack:
    """Repetitions of one stack of branches, by number of samples.

    Attributes:
        problem: Network, data and training.
        depth: Depth that the stack stands for, for messages.
        branches: Number of branches.
        seed: Seed of the samples.
        kernels: True if kernels are wanted.
        memory: Memory that fields may take, in gigabytes.
        remedy: Advice where they take more.
        few: Samples of the first repetitions.
        many: Samples of the last ones; 0 before there are any.
        drawn: The repetitions, by samples.
        seconds: Seconds of a repetition, by samples.
    """

    problem: Problem
    depth: Depth
    branches: int
    seed: int
    kernels: bool = True
    memory: float = MEMORY
    remedy: str = "a smaller depth, or a larger accuracy"
    few: int = 0
    many: int = 0
    drawn: dict[int, list[Repetition]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.few = fewest(self.problem, self.branches, self.apart)

    @property
    def apart(self) -> Apart:
        """Draws that every Gaussian is orthogonal to."""
        if math.isinf(self.depth) and self.problem.is_noiseless:
            return "none"
        # Only linear networks owe exactness to it; for others it costs more than it gains.
        return "all" if self.problem.phi is ACTIVATIONS["linear"] else "matrix"

    def draw(self, samples: int, count: int) -> Iterator[int]:
        """Draw repetitions until there are `count`; yield their number after each.

        Raises:
            Diverged: the loss of a repetition is hopeless.
        """
        # The first repetitions have the fewest samples that there may be, whatever the accuracy.
        remedy = self.remedy if samples > self.few else "or a smaller depth"
        check_memory(self.problem, self.branches, samples, remedy, self.memory, self.apart)
        known = self.drawn.setdefault(samples, [])
        while len(known) < count:
            start = time.perf_counter()
            known.append(self._repetition(samples, len(known)))
            taken, before = time.perf_counter() - start, self.seconds.get(samples, 0.0)
            self.seconds[samples] = before + (taken - before) / len(known)
            yield len(known)

    def fits(self, samples: int) -> bool:
        """Return True if so many samples fit into memory."""
        return gigabytes(self.problem, self.branches, samples, self.apart) <= self.memory

    def expected(self, samples: int) -> float:
        """Return the expected seconds of a repetition, in proportion to its samples."""
        nearest = min(self.seconds, key=lambda known: abs(math.log(known / samples)))
        return self.seconds[nearest] * samples / nearest

    def weighted(self, weight: float) -> list[Group]:
        """Return the repetitions whose weighted means are infinitely many samples.

        Errors of S samples are of order 1 / S, as those of networks of width S. So a mean over few
        and one over many samples give infinitely many (Richardson's method).
        """
        few = self.drawn[self.few]
        if not self.many:
            return [Group(weight, few)]
        ratio, many = self.many / self.few, self.drawn[self.many]
        more = ratio / (ratio - 1)
        # A pilot with a small spread asks for few samples; its spread is too small on average.
        return [Group(weight * more, many), Group(weight * (1 - more), few, many, ratio)]

    def less(self, other: Stack) -> Stack | None:
        """Return differences of repetitions of the same draws; None if too few."""
        drawn = {
            samples: [one.less(two) for one, two in zip(known, others, strict=False)]
            for samples, known in self.drawn.items()
            if (others := other.drawn.get(samples))
        }
        alike = (self.branches, self.few) == (other.branches, other.few)
        if not alike or len(drawn.get(self.few, ())) < 2:
            return None
        complete = [more for more in drawn if self.few < more <= min(self.many, other.many)]
        result = copy.copy(self)
        result.drawn, result.many = drawn, max(complete, default=0)
        return result

    def _repetition(self, samples: int, index: int) -> Repetition:
        seed = (self.seed, index, self.branches, samples)
        draw = SiteDraw(self.problem, self.branches, samples, seed, self.apart)
        run = run_sites(self.problem, self.depth, self.branches, draw)
        kernels = kernels_of(self.problem, run, samples) if self.kernels else {}
        return Repetition(run.outputs, self.problem.losses(run.outputs), kernels)


@dataclass(frozen=True, eq=False)
class Mean:
    """A weighted sum of means over repetitions.

    Attributes:
        value: The sum.
        error: Its error: the standard error times Student's t over the normal quantile, so that
            1.96 of it is half the 95% interval, however few repetitions there are.
        deviation: The standard error.
    """

    value: Array
    error: Array
    deviation: Array


def mean_of(groups: Sequence[Group], of: Of) -> Mean:
    """Return the sum of weight x mean over repetitions, with its error."""
    value, variance, doubt = np.zeros(()), np.zeros(()), np.zeros(())
    for group in groups:
        count = len(group.repetitions)
        of_mean = group.weight**2 * group.variance(of) / count
        value = value + group.weight * _stacked(group.repetitions, of).mean(0)
        variance = variance + of_mean
        doubt = doubt + of_mean**2 / (count - 1)
    # Degrees of freedom of a sum of variances (Welch and Satterthwaite).
    # At most those of the largest group: others may have taken its variance.
    most = max(len(group.repetitions) for group in groups) - 1.0
    freedom = np.divide(variance**2, doubt, out=np.full_like(variance, most), where=doubt > 0)
    quantile = np.vectorize(student_t, otypes=[float])(np.clip(freedom, 1.0, most))
    inflation = np.maximum(quantile, NORMAL) / NORMAL
    deviation = np.asarray(np.sqrt(variance))
    return Mean(np.asarray(value), np.asarray(deviation * inflation), deviation)


class Sampling:
    """The stages in which one limit is sampled: a pilot with few samples, then more.

    The repetitions that decide how many samples are taken are the pilot's, and errors are mostly
    those of others. Samples that were taken until errors look small would give errors that are
    too small.

    Args:
        problem: Network, data and training.
        depth: Number of branches, or math.inf.
        repetitions: Repetitions with many samples; the pilot has half as many.
        seed: Seed of the samples.
        nodes: Branches of the smallest stack at infinite depth.
        kernels: True if kernels are wanted.
        memory: Memory that fields may take, in gigabytes.
        remedy: Advice where they take more.
    """

    def __init__(
        self,
        problem: Problem,
        depth: Depth,
        *,
        repetitions: int,
        seed: int,
        nodes: int,
        kernels: bool = True,
        memory: float = MEMORY,
        remedy: str = "a smaller depth, or a larger accuracy",
    ) -> None:
        self.problem, self.depth, self.repetitions = problem, depth, repetitions
        self.pilots, self.factor = max(2, repetitions // 2), 1

        def stack(branches: int) -> Stack:
            return Stack(problem, depth, branches, seed, kernels, memory, remedy)

        self.stack = stack
        infinite = math.isinf(depth)
        self.stacks = [stack(nodes << i) for i in range(3)] if infinite else [stack(int(depth))]

    def pilot(self, count: int | None = None) -> Iterator[tuple[int, int]]:
        """Draw the pilot's repetitions; yield samples and repetitions after each.

        The smallest stack comes first. Where the loss is hopeless in its first two repetitions,
        training diverges. Where it is in others, twice the samples must show it.

        Raises:
            Diverged: training diverges.
        """
        wanted = self.pilots if count is None else min(count, self.pilots)
        for stack in self.stacks:
            shifts = 0
            while True:
                try:
                    for done in stack.draw(stack.few, wanted):
                        yield stack.few, done
                    break
                except Diverged:
                    if not stack.drawn[stack.few] and self._again(stack):
                        raise
                    if shifts == _SHIFTS:
                        raise
                    shifts, stack.few = shifts + 1, 2 * stack.few

    def _again(self, stack: Stack) -> bool:
        """Return True if another repetition diverges, too."""
        try:
            stack._repetition(stack.few, len(stack.drawn[stack.few]) + 1)
        except Diverged:
            return True
        return False

    def refine(self, factor: int) -> Iterator[tuple[int, int]]:
        """Draw repetitions with so many times the pilot's samples; yield as `pilot` does.

        They take the place of earlier ones with fewer samples once they are complete.

        Raises:
            Diverged: training diverges.
        """
        for stack in self.stacks:
            for _ in self.pilot_of(stack):
                pass
            samples = factor * stack.few
            for done in stack.draw(samples, self.repetitions):
                yield samples, done
        for stack in self.stacks:
            stack.many = factor * stack.few
        self.factor = factor

    def pilot_of(self, stack: Stack) -> Iterator[int]:
        """Complete the pilot of one stack."""
        return stack.draw(stack.few, self.pilots)

    def deepen(self) -> None:
        """Take stacks of twice as many branches; the largest is to be drawn."""
        self.stacks = [*self.stacks[1:], self.stack(2 * self.stacks[-1].branches)]
        self.factor = 1
        for each in self.stacks:
            each.many = 0

    def expected(self, factor: int) -> float:
        """Return the expected seconds of `refine`."""
        return sum(
            self.repetitions * stack.expected(factor * stack.few)
            for stack in self.stacks
            if len(stack.drawn.get(factor * stack.few, [])) < self.repetitions
        )

    def spent(self) -> float:
        """Return the seconds that all its present repetitions took."""
        return sum(
            len(stack.drawn[samples]) * stack.seconds[samples]
            for stack in self.stacks
            for samples in {stack.few, stack.many} & stack.seconds.keys()
        )

    def mean(self, of: Of) -> Mean:
        """Return the mean of a quantity, to the highest order in depth."""
        return mean_of(self._groups(len(self.stacks)), of)

    def order(self, of: Of) -> Array:
        """Return the change by the last order in depth; 0 at finite depth."""
        if len(self.stacks) == 1:
            return np.zeros(())
        lower = mean_of(self._groups(len(self.stacks) - 1), of)
        return np.asarray(self.mean(of).value - lower.value)

    def less(self, other: Sampling) -> Sampling | None:
        """Return differences of repetitions of the same draws; None if too few."""
        stacks = [one.less(two) for one, two in zip(self.stacks, other.stacks, strict=True)]
        known = [stack for stack in stacks if stack is not None]
        if len(known) < len(stacks):
            return None
        result = copy.copy(self)
        result.stacks, result.factor = known, min(stack.many // stack.few for stack in known)
        return result

    def scatter(self, of: Of) -> Array:
        """Return the error of one repetition: that of the pilot's mean, with its bias.

        Errors of order 1 / S were measured to be about as large as the standard deviation of one
        repetition, where samples are few. Means over many repetitions do not reduce them.
        """
        count = min(len(stack.drawn[stack.few]) for stack in self.stacks)
        return np.asarray(self.mean(of).error * np.sqrt(count))

    def factor_for(self, share: float, most: int) -> int:
        """Return how many times the pilot's samples reduce its errors to this share.

        Variances are in proportion to 1 / S; extrapolating to infinitely many adds to them.
        """
        factor = 2
        while factor < most and self._shrinks(factor) > share:
            factor *= 2
        return min(factor, most)

    def _shrinks(self, factor: int) -> float:
        more = factor / (factor - 1)
        many = more**2 / (factor * self.repetitions)
        return math.sqrt(self.pilots * (many + (1 - more) ** 2 / self.pilots))

    def _groups(self, orders: int) -> list[Group]:
        chosen = self.stacks[-orders:]
        weights = weights_of(len(chosen))
        pairs = zip(weights, chosen, strict=True)
        return [group for weight, stack in pairs for group in stack.weighted(weight)]
