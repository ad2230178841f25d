"""The verdict on each exponent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ._expected import Expectations
from ._quantities import CHANGE, GROWS, OWN, REACH
from ._slopes import Slope
from ._spots import Spot

SURE = 0.3
"""Distance beyond the limit that the interval of an exponent that passes may reach.

Faults are off by a half or one: an interval that ends below 0.3 + 0.3 holds hardly any.
"""

Reach = Mapping[tuple[str, str], float]
"""The exponents of the reach of layers, by axis and label."""


def judged(slopes: Iterable[Slope], expectations: Expectations, steps: int) -> list[Slope]:
    """Return the exponents with their expectations, and verdicts where they count.

    Args:
        slopes: The measured exponents.
        expectations: The expected ones.
        steps: Number of steps that the networks were trained.
    """
    measured = list(slopes)
    known = {(s.axis, s.kind, s.name, s.quantity): s.slope for s in measured if s.step == 0}
    reach = {(s.axis, s.name): s.slope for s in measured if s.measures(REACH)}
    result = []
    for slope in measured:
        slope = replace(slope, expected=expectations.exponent(slope, known))
        if slope.expected is not None and expectations.is_judged(slope, steps):
            slope = replace(slope, verdict=_verdict(slope, expectations, reach))
        result.append(slope)
    return result


def _verdict(slope: Slope, expectations: Expectations, reach: Reach) -> str:
    excess, half = slope.excess, slope.high - slope.slope
    limit = GROWS
    if excess < 0:
        limit = expectations.shrinks(slope)
        if _reaches(slope, expectations, reach, limit):
            return "pass" if slope.high - (slope.expected or 0.0) <= GROWS + SURE else "undecided"
    # A fault has to be large and sure: at the near end of its interval, too, the exponent is off
    # by more than half of what is allowed. A pass has to be sure alike.
    if abs(excess) > limit and abs(excess) - half > limit / 2:
        return "fail"
    return "pass" if abs(excess) <= limit and abs(excess) + half <= limit + SURE else "undecided"


def _reaches(slope: Slope, expectations: Expectations, reach: Reach, limit: float) -> bool:
    """Return True if a change shrinks although the layer's update has the right size.

    Inputs and their alignment with updates shrink in small networks that start far from the
    limit, such as those with small initial scales. Inside branches nothing else tells that from
    a layer that learns too little.
    """
    if not (slope.measures(OWN) or slope.measures(CHANGE)):
        return False
    if slope.measures(CHANGE) and expectations.spot(slope) not in {Spot.INSIDE, Spot.END}:
        return False
    inner = [
        exponent
        for (axis, name), exponent in reach.items()
        if axis == slope.axis and (name == slope.name or name.startswith(f"{slope.name}."))
    ]
    return bool(inner) and max(inner) - (slope.expected or 0.0) >= -limit
