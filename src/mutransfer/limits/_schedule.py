"""Time spent on many sampled limits: a little on all, then where it matters.

A landscape is known where its lowest loss is known. So every value is sampled with the fewest
samples first; those whose loss is hopeless end there. Then more samples go to values that may be
the best of their depth, and to their neighbours, and values between them are added, until the
optimum's interval is narrow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..core import OnProgress, Progress
from ._optimum import ROUNDING
from ._problem import Depth
from ._sampled_curve import SampledCurve, Value

# Repetitions of every value at first: of two alone, Student's t leaves no error worth the name.
_FIRST = 3

# Optima are sampled until their interval is this share of the distance of given values; values
# are added until the distances within it are half of that.
_NARROW = 0.25

# Rank of values that cannot be the best, and have a part of the repetitions with few samples.
_INCOMPLETE = 2

# Time of later stages over that of the pilots, before anything is known of them.
_LATER = 2.0


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

    @property
    def all(self) -> list[Value]:
        """Values of all depths, the cheapest first."""
        values = [value for curve in self.curves for value in curve.values]
        return sorted(values, key=lambda value: value.units)

    def run(self) -> None:
        """Sample until every accuracy is reached, or the time is over."""
        for value in self.all:
            if self._pilots(value, _FIRST) <= self.left:
                self._draw(value.depth, value.pilot(_FIRST))
        while stages := list(self._stages()):
            stage = min(stages, key=lambda stage: stage[:2])
            self._draw(stage.depth, stage.drawn)

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

    def _stages(self) -> Iterator[_Stage]:
        """Yield the stages that there is time for."""
        for curve in self.curves:
            rivals = curve.rivals()
            yield from self._narrowing(curve, rivals)
            for i, value in enumerate(curve.values):
                rank = _rank(value, i in rivals)
                if rank is None:
                    continue
                left = self.left - self._pilots(value, value.pilots)
                if rank != _INCOMPLETE:
                    yield from self._more(rank, value, left)
                elif left >= 0:
                    yield _Stage(rank, value.units, value.depth, value.pilot(value.pilots))

    def _more(self, rank: int, value: Value, left: float) -> Iterator[_Stage]:
        """Yield the stage of more samples of a value, if there is time for one."""
        if factor := value.stage(left):
            cost = value.sampling.expected(factor)
            yield _Stage(rank, cost, value.depth, value.refine(factor))

    def _narrowing(self, curve: SampledCurve, rivals: Sequence[int]) -> Iterator[_Stage]:
        """Yield the stage that narrows an optimum's interval the most."""
        around = curve.around(rivals)
        if not around:
            return
        places = curve.scale.places(curve.grid[around])
        wanted = _NARROW * curve.scale.spacing(curve.grid[rivals[0]])
        width = float(places[-1] - places[0])
        if width <= wanted * ROUNDING:
            return
        # The widest intervals come first, before anything else; of two alike the cheaper one.
        rank = -math.ceil(math.log2(width / wanted))
        chosen = [curve.values[i] for i in rivals]
        widest = int(np.argmax(np.diff(places)))
        gap = places[widest + 1] - places[widest]
        span = np.ptp(curve.scale.places(curve.grid[rivals]))
        # As long as distances are large, samples cannot narrow the interval, nor do they place it.
        if gap * ROUNDING < max(span / 2, wanted / 2):
            least = min(chosen, key=lambda value: value.sampling.factor)
            yield from self._more(rank, least, self.left)
            return
        like = max(chosen, key=lambda value: value.sampling.factor)
        if (cost := like.sampling.spent()) <= self.left:
            low, high = around[widest : widest + 2]
            drawn = _between(curve, low, high, like.sampling.factor)
            yield _Stage(rank, cost, like.depth, drawn)

    def _draw(self, depth: Depth, drawn: Iterator[None]) -> None:
        for _ in drawn:
            if self.progress is not None:
                elapsed = time.monotonic() - self.start
                self.progress(
                    Progress(
                        what=f"depth {depth:g}",
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


class _Stage(NamedTuple):
    """Repetitions that may be drawn next.

    Attributes:
        rank: Urgency, lowest first.
        cost: Expected seconds.
        depth: Their depth.
        drawn: Draws them, one after the other.
    """

    rank: int
    cost: float
    depth: Depth
    drawn: Iterator[None]


def _between(curve: SampledCurve, low: int, high: int, factor: int) -> Iterator[None]:
    """Add a value between two, with as many samples as its rivals."""
    value = curve.add(low, high)
    yield from value.pilot(value.pilots)
    if factor > 1 and not value.diverged:
        yield from value.refine(factor)


def _rank(value: Value, rival: bool) -> int | None:
    """Return the urgency of more samples, lowest first; None where none are needed."""
    if not value.known or value.diverged:
        return None
    if rival and value.sampling.factor == 1:
        return 0
    if rival and not value.settled:
        return 1
    if value.pilots_drawn < value.pilots:
        return _INCOMPLETE
    return _INCOMPLETE + 1 if value.shown and not value.settled else None
