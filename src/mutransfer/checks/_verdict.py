"""The verdict on each exponent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ._expected import Expectations
from ._quantities import BARE_OWN, CHANGE, GROWS, OWN, REACH
from ._slopes import Slope
from ._spots import Spot

SURE = 0.3
"""Distance beyond the limit that the interval of an exponent that passes may reach.

Faults are off by a half or one: an interval that ends below 0.3 + 0.3 holds hardly any.
"""

Reach = Mapping[tuple[str, str], Slope]
"""The reach of layers after the last step, by axis and label."""


def judged(slopes: Iterable[Slope], expectations: Expectations, steps: int) -> list[Slope]:
    """Return the exponents with their expectations, and verdicts where they count.

    Args:
        slopes: The measured exponents.
        expectations: The expected ones.
        steps: Number of steps that the networks were trained.
    """
    measured = list(slopes)
    known = {(s.axis, s.kind, s.name, s.quantity): s.slope for s in measured if s.step == 0}
    reach = {(s.axis, s.name): s for s in measured if s.measures(REACH)}
    result = []
    for slope in measured:
        slope = replace(slope, expected=expectations.exponent(slope, known))
        if expectations.is_judged(slope, steps) and not _comes_later(slope, steps):
            verdict = _verdict(slope, expectations, reach)
            early = slope.step < steps and expectations.is_first_of_scores(slope)
            slope = replace(slope, verdict="" if early and verdict != "fail" else verdict)
        result.append(slope)
    return result


def _comes_later(slope: Slope, steps: int) -> bool:
    """Return True for an effect too small at first, of a bare tensor or on a readout.

    Where a gradient comes through a few random directions, as that of a factor of low rank, it
    shrinks with width until those have aligned: only the last step tells if a rate is at fault.
    """
    of_either = slope.measures(BARE_OWN) or slope.measures(CHANGE)
    return of_either and slope.excess < 0 and slope.step < steps


def _verdict(slope: Slope, expectations: Expectations, reach: Reach) -> str:
    shrinks = expectations.shrinks(slope)
    verdict = verdict_of(slope, shrinks)
    if verdict == "pass" or not _may_follow_reach(slope, expectations):
        return verdict
    # Alignment and inputs shrink and scatter in small networks, at no fault of the layer: its own
    # part is wrong only where its update has the wrong size, too. Wrong inputs show before it.
    inner = [
        replace(layer, expected=slope.expected)
        for (axis, name), layer in reach.items()
        if axis == slope.axis and (name == slope.name or name.startswith(f"{slope.name}."))
    ]
    return "pass" if any(verdict_of(layer, shrinks) == "pass" for layer in inner) else verdict


def verdict_of(slope: Slope, shrinks: float) -> str:
    """Return the verdict on an exponent that may lie so far below the expected one."""
    excess, half = slope.excess, slope.high - slope.slope
    limit = shrinks if excess < 0 else GROWS
    # A fault has to be large and sure: at the near end of its interval, too, the exponent is off
    # by more than half of what is allowed. A pass has to be sure alike.
    if abs(excess) > limit and abs(excess) - half > limit / 2:
        return "fail"
    return "pass" if abs(excess) <= limit and abs(excess) + half <= limit + SURE else "undecided"


def _may_follow_reach(slope: Slope, expectations: Expectations) -> bool:
    """Return True for own parts, and for changes in branches that are too small."""
    if slope.measures(OWN):
        return True
    in_branch = expectations.spot(slope) in {Spot.INSIDE, Spot.END}
    return slope.measures(CHANGE) and in_branch and slope.excess < 0
