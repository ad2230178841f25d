"""Sampled losses of one depth, by value of the hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..statistics import Array, infinite
from ._landscape import Metric
from ._limit import Diverged, loss_scale
from ._nonlinear import MOST, NODES
from ._optimum import Scale, best_value
from ._problem import Depth, Problem
from ._sampling import NORMAL, Repetition, Sampling

_FINEST = 16

# Values are shown, and worth their time, up to this many times the initial loss.
_SHOWN = 2.0


class Value:
    """The sampled loss of one value of a hyperparameter at one depth.

    Args:
        problem: Network, data and training, with this value.
        depth: Number of branches, or math.inf.
        metric: The "mean" loss over all times, or the "final" one.
        accuracy: Wanted half width of the 95% interval, as a share of the initial loss.
    """

    def __init__(self, problem: Problem, depth: Depth, metric: Metric, accuracy: float) -> None:
        self.depth, self.metric, self.accuracy = depth, metric, accuracy
        self.diverged = False
        # All values have the same seed: what their errors have in common moves no optimum.
        self.sampling = Sampling(problem, depth, repetitions=8, seed=0, nodes=NODES, kernels=False)

    def of(self, repetition: Repetition) -> Array:
        """Return the metric of a repetition."""
        losses = repetition.losses
        return np.asarray(losses[-1] if self.metric == "final" else losses.mean())

    @property
    def known(self) -> bool:
        """True if the loss is known, be it with a large error."""
        return self.diverged or self.pilots_drawn > 1

    @property
    def loss(self) -> float:
        """The metric; infinite where training diverges, NaN where it is unknown."""
        if self.diverged:
            return math.inf
        return float(self.sampling.mean(self.of).value) if self.known else math.nan

    @property
    def error(self) -> float:
        """Its error, as of `Mean`; with few samples alone that of one repetition."""
        if self.diverged or not self.known:
            return 0.0
        return self._error_of(self.sampling)

    def above(self, other: Value) -> tuple[float, float]:
        """Return the loss less another value's, which is known too, and the error of that.

        Repetitions of the same samples have the same Gaussians, so that most of their errors
        cancel.
        """
        difference, error = self.loss - other.loss, math.hypot(self.error, other.error)
        paired = self.sampling.less(other.sampling)
        if paired is None or (smaller := self._error_of(paired)) >= error:
            return difference, error
        return float(paired.mean(self.of).value), smaller

    @property
    def deviation(self) -> float:
        """Standard error of the mean; for the order of work, not for the result."""
        return float(self.sampling.mean(self.of).deviation)

    @property
    def first(self) -> float:
        """Size of the initial loss."""
        sampling = self.sampling
        return loss_scale(sampling.problem, sampling.mean(lambda each: each.losses).value)

    @property
    def settled(self) -> bool:
        """True if the accuracy is reached."""
        if self.diverged or not self.known:
            return self.diverged
        return NORMAL * self.error <= self.accuracy * self.first

    @property
    def shown(self) -> bool:
        """True if the loss is not far above the initial one."""
        return self.known and not self.diverged and self.loss <= _SHOWN * self.first

    def _error_of(self, sampling: Sampling) -> float:
        return math.hypot(self._noise_of(sampling), self._order_of(sampling))

    def _noise_of(self, sampling: Sampling) -> float:
        refined = sampling.factor > 1
        return float(sampling.mean(self.of).error if refined else sampling.scatter(self.of))

    def _order_of(self, sampling: Sampling) -> float:
        return abs(float(sampling.order(self.of)))

    @property
    def units(self) -> float:
        """Cost of a pilot's repetition, in units that all values share."""
        return float(sum(stack.few * (1 + stack.branches) for stack in self.sampling.stacks))

    @property
    def pilots(self) -> int:
        """Repetitions with few samples, once they are complete."""
        return self.sampling.pilots

    @property
    def pilots_drawn(self) -> int:
        """Repetitions with few samples that are drawn of every stack."""
        return min(len(stack.drawn.get(stack.few, [])) for stack in self.sampling.stacks)

    @property
    def drawn(self) -> tuple[int, ...]:
        """Numbers that change with every repetition."""
        stacks = self.sampling.stacks
        samples = (number for stack in stacks for number in (stack.branches, stack.few, stack.many))
        return (self.diverged, self.pilots_drawn, *samples)

    def stage(self, left: float) -> int:
        """Return the next multiple of samples that time is left for; 0 if there is none."""
        sampling = self.sampling
        if sampling.factor > 1:
            wanted = 2 * sampling.factor
        else:
            half = NORMAL * float(sampling.mean(self.of).error)
            share = self.accuracy * self.first / half if half else math.inf
            wanted = sampling.factor_for(share, MOST)
        while wanted > sampling.factor and not self._affordable(wanted, left):
            wanted //= 2
        return wanted if sampling.factor < wanted <= MOST else 0

    def _affordable(self, factor: int, left: float) -> bool:
        fits = all(stack.fits(factor * stack.few) for stack in self.sampling.stacks)
        return fits and self.sampling.expected(factor) <= left

    def pilot(self, count: int) -> Iterator[None]:
        """Draw so many repetitions with few samples."""
        yield from self._watched(self.sampling.pilot(count))

    def refine(self, factor: int) -> Iterator[None]:
        """Draw more samples, and deeper stacks where the last order in depth is large."""
        sampling, noise = self.sampling, self._noise_of(self.sampling)
        deeper = 2 * sampling.stacks[-1].branches <= _FINEST
        if sampling.factor > 1 and self._order_of(sampling) > noise and deeper:
            sampling.deepen()
            yield from self._watched(sampling.pilot())
            factor //= 2
        yield from self._watched(sampling.refine(factor))

    def _watched(self, drawn: Iterator[tuple[int, int]]) -> Iterator[None]:
        try:
            for _ in drawn:
                yield
        except Diverged:
            self.diverged = True


@dataclass(eq=False)
class SampledCurve:
    """The values of one depth.

    Attributes:
        grid: The hyperparameter, (values,); values between the given ones are added to it.
        values: Its sampled losses, in the same order.
        between: Makes one more.
    """

    grid: Float[Array, " values"]
    values: list[Value]
    between: Callable[[float], Value]

    def __post_init__(self) -> None:
        self.scale = Scale(self.grid)
        self._drawn, self._rivals = list[tuple[int, ...]](), list[int]()

    @property
    def losses(self) -> Float[Array, " values"]:
        """Losses of all values."""
        return np.array([value.loss for value in self.values])

    @property
    def errors(self) -> Float[Array, " values"]:
        """Their errors."""
        return np.array([value.error for value in self.values])

    def rivals(self) -> list[int]:
        """Return the places of values whose loss cannot be told from the lowest."""
        drawn = [value.drawn for value in self.values]
        # Comparing all values takes longer than looking up whether there is anything new.
        if drawn != self._drawn:
            self._drawn, self._rivals = drawn, self._compared()
        return self._rivals

    def _compared(self) -> list[int]:
        losses = infinite(self.losses)
        best = int(np.argmin(losses))
        if not np.isfinite(losses[best]):
            return []
        places = [int(i) for i in np.flatnonzero(np.isfinite(losses))]
        above = [self.values[i].above(self.values[best]) for i in places]
        pairs = zip(places, above, strict=True)
        return [i for i, (more, error) in pairs if more <= NORMAL * error]

    def around(self, rivals: Sequence[int]) -> list[int]:
        """Return the places from the neighbour below the rivals to the one above.

        The optimum lies between the neighbours of the value that is truly the lowest. Neighbours
        that diverged are among them, those that are unknown not. At the edge there are none.
        """
        losses = self.losses
        if best_value(self.grid, losses) is None:
            return []
        known = np.flatnonzero(~np.isnan(losses))
        first, last = np.searchsorted(known, [rivals[0], rivals[-1]])
        return [int(i) for i in known[max(0, first - 1) : last + 2]]

    def add(self, low: int, high: int) -> Value:
        """Add a value half-way between two, and return it."""
        middle = self.scale.middle(self.grid[low], self.grid[high])
        place = int(np.searchsorted(self.grid, middle))
        self.grid = np.insert(self.grid, place, middle)
        self.values.insert(place, self.between(middle))
        return self.values[place]

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of the best value; None where that is at the edge."""
        around = self.around(self.rivals())
        return (float(self.grid[around[0]]), float(self.grid[around[-1]])) if around else None
