"""Few runs on one loss curve: where to measure next, and when to stop.

The optimum is bracketed from an expected place, then the place nearest to its posterior mean is
measured until its 95% interval is narrow enough. All is a function of the measurements alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._arrays import Array
from ._few_points import SmoothCurve
from ._refine_known import Known, known
from ._refine_places import Field, around

SPAN = 4.0
"""Steps that are measured before a curve counts as flat."""

FARTHEST = 16.0
"""Steps from the start after which a loss that still falls is no longer followed."""

WIDE = 4.0
"""Two places are measured at once where the interval is this many times too wide."""


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
    status: Literal["inside", "edge", "flat", "diverged", "open"]
    reason: str
    reseed: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        """True if neither another place nor another seed is asked for."""
        return not self.proposals and not self.reseed


def refinement(
    places: Float[Array, " places"],
    losses: Float[Array, "seeds places"],
    *,
    start: Start,
    within: float = 0.25,
    step: float = 1.0,
    allowed: Float[Array, " n"] | None = None,
    low: float = -np.inf,
    high: float = np.inf,
    unit: float = 1.0,
    shift: float = 0.2,
    prior: SmoothCurve | None = None,
) -> Refined:
    """Return where to measure a loss curve next, or its optimum.

    Args:
        places: Measured places, ascending, on the scale: log2 of the rate, or numbers.
        losses: Losses; NaN where a seed was not run, infinite where it diverged.
        start: Expected place of the optimum. It decides where to begin, nothing else.
        within: Wanted half width of the 95% interval, on the scale.
        step: First spacing.
        allowed: The only places that can be measured; None: any.
        low, high: Bounds of places.
        unit: The distance on the scale in which shapes of curves are given: 1 for octaves.
        shift: Sd of one seed's own optimum around that of the mean over seeds, in units.
        prior: The prior of a smooth curve whose noise is known, such as `LANGUAGE_MODELS`; None:
            that of `posterior`, whose noise is found from the seeds.

    Raises:
        MutransferError: the places do not ascend or do not match the losses, or `within` or `step`
            is not positive.
    """
    places, losses = _checked(places, losses, within, step)
    field = Field(
        allowed=None if allowed is None else np.sort(np.asarray(allowed, dtype=np.float64)),
        low=low,
        high=high,
        step=step,
        gap=min(within, step / 2),
        taken=tuple(places.tolist()),
    )
    if not len(places):
        return _opened(around(field, start.mean), f"the start and {step:g} to either side")
    found = known(places, losses, unit=unit, shift=shift, prior=prior)
    if not found.usable.any():
        return _lower(field, places)
    if found.usable.sum() == 1 and found.below and found.above:
        return _opened(around(field, places[found.best]), "one place can be used: both its sides")
    return (
        _widened(field, places, found, start)
        or _ended(found, within)
        or _between(field, found, within)
    )


def _checked(places: Array, losses: Array, within: float, step: float) -> tuple[Array, Array]:
    places = np.asarray(places, dtype=np.float64).reshape(-1)
    losses = np.asarray(losses, dtype=np.float64)
    losses = losses.reshape(-1, len(places)) if losses.ndim < 2 and len(places) else losses
    if losses.size and losses.shape[-1] != len(places) or not (np.diff(places) > 0).all():
        raise MutransferError(
            f"places are {places.tolist()} for losses of shape {losses.shape}: give ascending "
            "places and losses (seeds, places)"
        )
    if not (within > 0 and step > 0):
        raise MutransferError(f"within is {within}, step is {step}: give positive distances")
    measured = ~np.isnan(losses).all(0) if losses.size else np.zeros(len(places), dtype=bool)
    return places[measured], losses[:, measured] if losses.size else losses


def _opened(proposals: tuple[float, ...], reason: str) -> Refined:
    if not proposals:
        reason = "no place can be measured"
    return Refined(
        proposals=proposals, place=np.nan, low=np.nan, high=np.nan, status="open", reason=reason
    )


def _lower(field: Field, places: Float[Array, " places"]) -> Refined:
    """Return what follows where all places diverged: lower ones, with a growing stride."""
    proposals: list[float] = []
    for steps in (1, 3):
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


def _widened(
    field: Field, places: Float[Array, " places"], found: Known, start: Start
) -> Refined | None:
    """Return places beyond the measured ones, None where the optimum is bracketed."""
    used = places[found.usable]
    flat = found.flat and used[-1] - used[0] < SPAN * field.step - 1e-6
    sides = {
        -1: found.below or (flat and np.isinf(found.bounds[0])),
        1: found.above or (flat and np.isinf(found.bounds[1])),
    }
    proposals, at_end = [], False
    for side, wanted in sides.items():
        end = used[0] if side < 0 else used[-1]
        if not wanted or abs(end - start.mean) > FARTHEST * field.step:
            at_end |= wanted and not flat
            continue
        expected = side * (found.place - end) if np.isfinite(found.place) else field.step
        ahead = float(np.clip(expected, field.step / 2, 2 * field.step))
        if flat:
            ahead = field.step
        limits = (-np.inf, end) if side < 0 else (end, np.inf)
        place = field.nearest(end + side * ahead, *limits)
        at_end |= place is None and (found.below if side < 0 else found.above)
        proposals += [] if place is None else [place]
    if not proposals and not at_end:
        return None
    where = "lowest" if found.below else "highest"
    if proposals:
        reason = "losses differ no more than their noise: wider" if flat else "the loss still falls"
        return _with(found, tuple(sorted(proposals)), "open", f"{reason} at the {where} place")
    reason = f"the loss is lowest at the {where} place that can be measured"
    place = float(np.clip(found.place, used[0], used[-1]))
    return Refined(
        proposals=(), place=place, low=found.low, high=found.high, status="edge", reason=reason
    )


def _ended(found: Known, within: float) -> Refined | None:
    if found.flat:
        return _with(found, (), "flat", "losses do not differ beyond their noise")
    if found.half <= within:
        return _with(found, (), "inside", f"half width {found.half:.2g} of the interval is enough")
    return None


def _between(field: Field, found: Known, within: float) -> Refined:
    """Return the free place nearest to the mean, within the interval."""
    place = field.nearest(found.place, found.low, found.high)
    if place is None:
        reason = f"half width {found.half:.2g}, but no place is left in the interval"
        return _with(found, (), "inside", reason)
    proposals = [place]
    if found.half > WIDE * within:
        middle = (found.low + found.high) / 2
        other = field.without(place).nearest(2 * middle - place, found.low, found.high)
        proposals += [] if other is None else [other]
    return _with(found, tuple(sorted(proposals)), "inside", f"half width {found.half:.2g}")


def _with(
    found: Known,
    proposals: tuple[float, ...],
    status: Literal["inside", "flat", "open"],
    reason: str,
) -> Refined:
    return Refined(
        proposals=proposals,
        place=found.place,
        low=found.low,
        high=found.high,
        status=status,
        reason=reason,
    )
