"""Steps of a search for an optimum: bracket it, narrow its interval, end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._refine_gains import gains
from ._refine_known import Known
from ._refine_places import Field
from ._refined import Assumptions, Refined, RefinedStatus, Start

SPAN = 4.0
"""Steps that are measured before a curve counts as flat."""

FARTHEST = 16.0
"""Steps from the start after which a loss that still falls is no longer followed."""

LEAST = 0.04
"""Smallest share of the interval's width that is worth another place or seed."""

WIDE = 2.0
"""An interval this many times too wide is wide."""

AHEAD = (0.5, 2.0)
"""Least and largest stride beyond the measured places, in steps."""

GROWTH = (0.25, 0.5)
"""The same as shares of the distance from the start, where that is more."""

DOWN = (1, 3)
"""Strides below places that all diverged, in steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Measurements and what is known from them.

    Attributes:
        places, losses: The measurements.
        field: Places that may be measured.
        found: The optimum so far.
        start: Its expected place.
        assumed: Assumptions about the curve.
    """

    places: Float[Array, " places"]
    losses: Float[Array, "seeds places"]
    field: Field
    found: Known
    start: Start
    assumed: Assumptions

    @property
    def used(self) -> Float[Array, " usable"]:
        """Places that can be used."""
        return np.asarray(self.places[self.found.usable])

    @property
    def reach(self) -> tuple[float, float]:
        """Range of places that are not beyond the measured ones, up to those that diverge."""
        low, high = self.found.bounds
        first, last = float(self.used[0]), float(self.used[-1])
        return first if np.isinf(low) else low, last if np.isinf(high) else high

    def refined(
        self,
        proposals: tuple[float, ...],
        status: RefinedStatus,
        reason: str,
        reseed: tuple[float, ...] = (),
    ) -> Refined:
        """Return a result with the optimum so far."""
        found = self.found
        place = found.place
        if status == "edge":
            place = float(np.clip(place, self.used[0], self.used[-1]))
        return Refined(
            proposals=tuple(sorted(proposals)),
            place=place,
            low=found.low,
            high=found.high,
            status=status,
            reason=reason,
            reseed=reseed,
        )


def lowered(field: Field, places: Float[Array, " places"]) -> Refined:
    """Return lower places where all diverged."""
    proposals: list[float] = []
    for steps in DOWN:
        below = places[0] - steps * field.step
        place = field.without(*proposals).nearest(below, high=places[0])
        if place is not None:
            proposals.append(place)
    return Refined(
        proposals=tuple(sorted(proposals)),
        place=np.nan,
        low=-np.inf,
        high=float(places[0]),
        status="open" if proposals else "diverged",
        reason="all places diverged" + (": lower ones" if proposals else ", the lowest too"),
    )


def lone(state: State) -> Refined:
    """Return both sides of the only place that can be used."""
    (used,), step = state.used, state.field.step
    low, high = state.found.bounds
    below, above = max(used - step, (low + used) / 2), min(used + step, (used + high) / 2)
    field = state.field
    first = field.nearest(below, low, used)
    second = field.nearest(above, used, high)
    proposals = tuple(place for place in (first, second) if place is not None)
    if proposals:
        return state.refined(proposals, "open", "one place can be used: its sides")
    reason = "only one place can be used"
    return Refined(
        proposals=(), place=float(used), low=low, high=high, status="edge", reason=reason
    )


def widened(state: State) -> Refined | None:
    """Return places beyond the measured ones, None if there are or need be none."""
    found, used, field = state.found, state.used, state.field
    flat = found.flat and used[-1] - used[0] < (SPAN - 1e-6) * field.step
    proposals = []
    for side, end, bound, lowest in (
        (-1, used[0], found.bounds[0], found.below),
        (1, used[-1], found.bounds[1], found.above),
    ):
        away = abs(end - state.start.mean) / field.step
        wanted = flat and np.isinf(bound) if found.flat else lowest
        if not wanted or away > FARTHEST:
            continue
        least, most = (max(a, b * away) for a, b in zip(AHEAD, GROWTH, strict=True))
        ahead = field.step
        if not flat:
            ahead *= float(np.clip(side * (found.place - end) / field.step, least, most))
        limits = (-np.inf, end) if side < 0 else (end, np.inf)
        place = field.nearest(end + side * ahead, *limits)
        proposals += [] if place is None else [place]
    if not proposals:
        return None
    reason = "losses differ no more than their noise" if flat else "the loss falls towards an end"
    return state.refined(tuple(proposals), "open", f"{reason}: farther places")


def narrowed(state: State) -> Refined:
    """Return places or seeds that narrow the interval, until it is narrow enough."""
    found, assumed = state.found, state.assumed
    half = f"half width {found.half:.2g}"
    if found.flat:
        return state.refined((), "flat", "losses do not differ beyond their noise")
    status: RefinedStatus = "edge" if found.below or found.above else "inside"
    if found.half <= assumed.within:
        return state.refined((), status, f"{half} is within {assumed.within:g}")
    low, high = state.reach
    place = state.field.nearest(found.place, max(found.low, low), min(found.high, high))
    if assumed.prior is None:
        return _by_gains(state, place, status)
    # Without shifts of seeds a place tells more a run than a seed does.
    if place is not None:
        return state.refined((place,), status, half)
    return state.refined((), status, f"{half}, but no place is left in the interval")


def _by_gains(state: State, place: float | None, status: RefinedStatus) -> Refined:
    """Return a place, or those of another seed, that narrows more a run."""
    found, assumed = state.found, state.assumed
    half = f"half width {found.half:.2g}"
    if place is not None and _coarse(state, place):
        return state.refined((place,), status, f"{half}, and places are far apart")
    more = gains(
        state.places,
        state.losses,
        _options(state, place),
        within=assumed.within,
        unit=assumed.unit,
        shift=assumed.shift,
    )
    by_place, by_seed = more.by_place / len(state.losses), more.by_seed / len(more.reseed)
    proposals = () if more.place is None or more.by_place < LEAST else (more.place,)
    # One seed shows nothing of the noise: before the end another one is always worth its runs.
    is_worth = more.by_seed >= LEAST or (len(state.losses) == 1 and not proposals)
    reseed = more.reseed if is_worth and (not proposals or by_seed >= by_place) else ()
    reason = (
        f"{half}: another seed would narrow it by {more.by_seed:.0%}, a place by "
        f"{more.by_place:.0%}"
    )
    if reseed and np.isfinite(more.seeds):
        reason += f"; about {np.ceil(more.seeds):.0f} seeds are needed"
    return state.refined(proposals, status, reason, reseed)


def _options(state: State, place: float | None) -> list[float]:
    """Return the place nearest to the mean, and those at the ends of a wide interval.

    On a plateau its walls tell where its centre is, and places on it tell nothing.
    """
    options = [] if place is None else [place]
    if state.found.half > WIDE * state.assumed.within:
        for end in (state.found.low, state.found.high):
            low, high = state.reach
            other = state.field.nearest(float(np.clip(end, low, high)), low, high)
            options += [] if other is None or other in options else [other]
    return options


def _coarse(state: State, place: float) -> bool:
    """Return True if a place lies beside the lowest one, in a wide gap.

    A cliff may lie there, which expected losses do not show.
    """
    ends = np.concatenate([[-np.inf], state.places, [np.inf]])
    # Two gaps, on either side of the lowest place.
    low, best, high = ends[state.found.best : state.found.best + 3]
    gap = best - low if place < best else high - best
    return bool(low < place < high and gap > (0.5 + 1e-6) * state.field.step)
