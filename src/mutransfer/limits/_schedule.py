"""Time spent on many sampled limits: a little on all, then where it matters.

A landscape is known where its lowest loss is known. So every value is sampled with the fewest
samples first; those whose loss is hopeless end there. Then more samples go to values that may be
the best of their depth, and to their neighbours, whose losses place the optimum between them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from jaxtyping import Float

from ..core import OnProgress, Progress
from ..statistics import Array, infinite
from ._landscape import Metric
from ._limit import Diverged, loss_scale
from ._nonlinear import MOST, NODES
from ._optimum import drawn_between, spacing
from ._problem import Depth, Problem
from ._sampling import NORMAL, Repetition, Sampling

_FINEST = 16

# Values are shown, and worth their time, up to this many times the initial loss.
_SHOWN = 2.0

# Repetitions of every value at first: of two alone, Student's t leaves no error worth the name.
_FIRST = 3

# Optima are sampled until their interval is within this share of the distance of values.
_NARROW = 0.25

# Rank of values that cannot be the best, and have a part of the repetitions with few samples.
_INCOMPLETE = 2

# Time of later stages over that of the pilots, before anything is known of them.
_LATER = 2.0


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
        return math.hypot(self._noise, self._order)

    @property
    def deviation(self) -> float:
        """Standard error of the mean; for the order of work, not for the result."""
        return float(self.sampling.mean(self.of).deviation)

    @property
    def first(self) -> float:
        """Size of the initial loss."""
        return loss_scale(self.sampling.mean(lambda repetition: repetition.losses).value)

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

    @property
    def _noise(self) -> float:
        sampling = self.sampling
        refined = sampling.factor > 1
        return float(sampling.mean(self.of).error if refined else sampling.scatter(self.of))

    @property
    def _order(self) -> float:
        return abs(float(self.sampling.order(self.of)))

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
        sampling, noise = self.sampling, self._noise
        deeper = 2 * sampling.stacks[-1].branches <= _FINEST
        if sampling.factor > 1 and self._order > noise and deeper:
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


@dataclass(frozen=True)
class SampledCurve:
    """The values of one depth.

    Attributes:
        grid: The hyperparameter, (values,).
        values: Its sampled losses, in the same order.
    """

    grid: Float[Array, " values"]
    values: Sequence[Value]

    @property
    def losses(self) -> Float[Array, " values"]:
        """Losses of all values."""
        return np.array([value.loss for value in self.values])

    @property
    def errors(self) -> Float[Array, " values"]:
        """Their errors."""
        return np.array([value.error for value in self.values])

    def near(self) -> list[bool]:
        """Return which values may be the best one, or are its neighbours."""
        losses = infinite(self.losses)
        finite = np.isfinite(losses)
        if not finite.any():
            return [False] * len(losses)
        known = [value.deviation for value in compress(self.values, finite)]
        # Of two repetitions one deviation says little, those of all values together enough.
        errors = np.full(len(losses), 2 * math.hypot(*known) / math.sqrt(len(known)))
        errors[finite] = np.minimum(errors[finite], 2 * self.errors[finite])
        chosen = finite & (losses - errors <= (losses + errors).min())
        for place in np.flatnonzero(chosen):
            chosen[max(0, place - 1) : place + 2] = True
        return [bool(each) for each in chosen & finite]

    def narrow(self) -> bool:
        """Return True if the optimum's interval is narrow enough, or there is none."""
        ends = drawn_between(self.grid, self.losses, self.errors)
        if ends is None:
            return True
        low, high = ends
        return high - low <= 2 * _NARROW * spacing(self.grid, (low + high) / 2)


class Schedule:
    """The order in which values are sampled.

    Args:
        curves: Values by depth, of one landscape or several.
        seconds: Time that may be spent; None for no end but the accuracy.
        progress: Called with the progress after every repetition, in seconds.
    """

    def __init__(
        self, curves: Sequence[SampledCurve], seconds: float | None, progress: OnProgress | None
    ) -> None:
        self.curves, self.progress = curves, progress
        self.start = time.monotonic()
        self.deadline = self.start + (math.inf if seconds is None else seconds)
        self.all = sorted(
            (value for curve in curves for value in curve.values), key=lambda value: value.units
        )

    def run(self) -> None:
        """Sample until every accuracy is reached, or the time is over."""
        for value in self.all:
            if self._pilots(value, _FIRST) <= self.left:
                self._draw(value, value.pilot(_FIRST))
        while (stage := self._next()) is not None:
            value, factor = stage
            self._draw(value, value.refine(factor) if factor > 1 else value.pilot(value.pilots))

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline - time.monotonic()

    def _pilots(self, value: Value, count: int) -> float:
        """Return the expected seconds until so many pilot repetitions are drawn."""
        missing = max(0, count - value.pilots_drawn)
        return 0.0 if value.diverged else missing * value.units * self._pace

    @property
    def _pace(self) -> float:
        """Seconds of a unit of pilots, as measured so far."""
        units, seconds = 0.0, 0.0
        for value in self.all:
            for stack in value.sampling.stacks:
                if taken := stack.seconds.get(stack.few):
                    units += stack.few * (1 + stack.branches)
                    seconds += taken
        return seconds / units if units else 0.0

    def _next(self) -> tuple[Value, int] | None:
        """Return the value to be sampled next, and the multiple of its samples."""
        stages: list[tuple[int, float, int, Value, int]] = []
        for curve in self.curves:
            near, narrow = curve.near(), curve.narrow()
            for value, is_near in zip(curve.values, near, strict=True):
                rank = _rank(value, is_near, narrow)
                if rank is None:
                    continue
                left = self.left - self._pilots(value, value.pilots)
                if rank == _INCOMPLETE:
                    factor, cost = int(left >= 0), value.units
                else:
                    factor = value.stage(left)
                    cost = value.sampling.expected(factor) if factor else 0.0
                if factor:
                    stages.append((rank, cost, len(stages), value, factor))
        # Their place in the list comes before the values, which have no order.
        return min(stages)[-2:] if stages else None

    def _draw(self, value: Value, drawn: Iterator[None]) -> None:
        for _ in drawn:
            if self.progress is not None:
                elapsed = time.monotonic() - self.start
                self.progress(
                    Progress(
                        what=f"depth {value.depth:g}",
                        done=elapsed,
                        total=elapsed + self._remaining(),
                        elapsed=elapsed,
                    )
                )

    def _remaining(self) -> float:
        """Return the seconds that are left to do, roughly, within the budget."""
        pace, seconds = self._pace, 0.0
        for value in self.all:
            if value.diverged:
                continue
            seconds += self._pilots(value, value.pilots)
            if not value.known:
                seconds += _LATER * value.pilots * value.units * pace
            elif not value.settled and value.shown:
                seconds += value.sampling.expected(2)
        return min(seconds, max(self.left, 0.0))


def _rank(value: Value, near: bool, narrow: bool) -> int | None:
    """Return the urgency of more samples, lowest first; None where none are needed."""
    if not value.known or value.diverged:
        return None
    if near and value.sampling.factor == 1:
        return 0
    if near and not value.settled:
        return 1
    if value.pilots_drawn < value.pilots:
        return _INCOMPLETE
    if near and not narrow:
        return _INCOMPLETE + 1
    return _INCOMPLETE + 2 if value.shown and not value.settled else None
