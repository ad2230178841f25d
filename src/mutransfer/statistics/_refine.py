"""Few runs on one loss curve: where to measure next, and when to stop.

The optimum is bracketed from an expected place, then the place nearest to its posterior mean is
measured until its 95% interval is narrow enough. All is a function of the measurements alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._arrays import Array
from ._few_points import SmoothCurve
from ._refine_known import known
from ._refine_places import Field, around
from ._refine_steps import State, lone, lowered, narrowed, widened
from ._refined import Assumptions, Refined, Start


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
    lost: Sequence[float] = (),
) -> Refined:
    """Return where to measure a loss curve next, or its optimum.

    Args:
        places: Measured places, ascending, on the scale: log2 of the rate, or numbers.
        losses: Losses; NaN where a seed was not run, infinite where it diverged.
        start: Expected place of the optimum. It decides where to begin, nothing else.
        within: Wanted half width of the 95% interval, on the scale.
        step: First spacing.
        allowed: The only places that can be measured; None: any.
        low: Lowest place.
        high: Highest place.
        unit: The distance on the scale in which shapes of curves are given: 1 for octaves.
        shift: Sd of one seed's own optimum around that of the mean over seeds, in units.
        prior: The prior of a smooth curve whose noise is known, such as `LANGUAGE_MODELS`; None:
            that of `posterior`, whose noise is found from the seeds.
        lost: Places that could not be measured, which are not proposed again.

    Raises:
        MutransferError: the places do not ascend or do not match the losses, or `within` or `step`
            is not positive.
    """
    places, losses = _checked(places, losses, within, step)
    assumed = Assumptions(within=within, unit=unit, shift=shift, prior=prior)
    field = Field(
        allowed=None if allowed is None else np.sort(np.asarray(allowed, dtype=np.float64)),
        low=low,
        high=high,
        step=step,
        gap=min(within, step / 2),
        taken=(*places.tolist(), *lost),
    )
    if not len(places):
        return _opened(field, start)
    found = known(places, losses, unit=unit, shift=shift, prior=prior)
    if not found.usable.any():
        return lowered(field, places)
    state = State(
        places=places, losses=losses, field=field, found=found, start=start, assumed=assumed
    )
    if found.usable.sum() == 1:
        return lone(state)
    return widened(state) or narrowed(state)


def _checked(places: Array, losses: Array, within: float, step: float) -> tuple[Array, Array]:
    places = np.asarray(places, dtype=np.float64).reshape(-1)
    losses = np.asarray(losses, dtype=np.float64)
    losses = losses.reshape(-1, len(places)) if losses.ndim < 2 and len(places) else losses
    if (losses.size and losses.shape[-1] != len(places)) or not (np.diff(places) > 0).all():
        raise MutransferError(
            f"places are {places.tolist()} for losses of shape {losses.shape}: give ascending "
            "places and losses (seeds, places)"
        )
    if not (within > 0 and step > 0):
        raise MutransferError(f"within is {within}, step is {step}: give positive distances")
    measured = ~np.isnan(losses).all(0) if losses.size else np.zeros(len(places), dtype=bool)
    return places[measured], losses[:, measured] if losses.size else losses


def _opened(field: Field, start: Start) -> Refined:
    proposals = around(field, start.mean)
    return Refined(
        proposals=proposals,
        place=np.nan,
        low=np.nan,
        high=np.nan,
        status="open",
        reason="the expected place and its sides" if proposals else "no place can be measured",
    )
