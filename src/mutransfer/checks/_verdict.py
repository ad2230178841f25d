"""The verdict on each exponent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ._expected import Expectations
from ._quantities import GROWS
from ._slopes import Slope


def judged(slopes: Iterable[Slope], expectations: Expectations, steps: int) -> list[Slope]:
    """Return the exponents with their expectations, and verdicts where they count.

    Args:
        slopes: The measured exponents.
        expectations: The expected ones.
        steps: Number of steps that the networks were trained.
    """
    measured = list(slopes)
    known = {(s.axis, s.kind, s.name, s.quantity): s.slope for s in measured if s.step == 0}
    result = []
    for slope in measured:
        slope = replace(slope, expected=expectations.exponent(slope, known))
        if slope.expected is not None and expectations.is_judged(slope, steps):
            slope = replace(slope, verdict=_verdict(slope, expectations))
        result.append(slope)
    return result


def _verdict(slope: Slope, expectations: Expectations) -> str:
    excess, half = slope.excess, slope.high - slope.slope
    limit = expectations.shrinks(slope) if excess < 0 else GROWS
    # A fault has to be large and sure: at the near end of its interval, too, the exponent is off
    # by more than half of what is allowed. A pass has to be sure alike.
    if abs(excess) > limit and abs(excess) - half > limit / 2:
        return "fail"
    return "pass" if abs(excess) <= limit and half <= limit else "undecided"
