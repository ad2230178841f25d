"""Start, assumptions and state of a search for the optimum of one curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ._few_points import SmoothCurve

RefinedStatus = Literal["inside", "edge", "flat", "diverged", "open"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Place where an optimum is expected.

    Attributes:
        mean: As predicted from smaller sizes, or the centre of a grid.
        sd: Its standard deviation.
    """

    mean: float
    sd: float = np.inf


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Assumptions about a curve, and the wanted half width; as in `refinement`."""

    within: float
    unit: float
    shift: float
    prior: SmoothCurve | None


@dataclass(frozen=True, kw_only=True)
class Refined:
    """State of a search for the optimum of one curve.

    Attributes:
        proposals: Places to measure next; none when no other place would help.
        place: The optimum; NaN before anything is known.
        low, high: Its 95% interval.
        status: "inside" where it is bracketed; "edge" where the loss is lowest at the last place
            that can be measured; "flat" where losses do not differ beyond their noise; "diverged"
            where none can be used; "open" before.
        reason: Why these are the proposals, or why there are none.
        reseed: Places where another seed would narrow the interval more than another place.
    """

    proposals: tuple[float, ...]
    place: float
    low: float
    high: float
    status: RefinedStatus
    reason: str
    reseed: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        """True if neither another place nor another seed is asked for."""
        return not self.proposals and not self.reseed
