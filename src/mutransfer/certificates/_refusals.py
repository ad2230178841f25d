"""Limits beyond which a certificate is refused, and warnings before them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np

from ..core import Estimate, MutransferError
from ..studies import range_of
from ._evidence import Evidence
from ._law import Law
from ._line import are_separate
from ._priors import is_known
from ._scales import distance_text, positions, span_text, unit

LARGEST_DRIFT = 0.25
"""Octaves per doubling up to which a significant drift gives no warning."""

SMALLEST_SPAN = 4
"""Factor that the sizes of an axis must span for a drift to show."""

WIDEST = 2.0
"""Octaves on either side of the predicted optimum beyond which the interval is of no use."""

FARTHEST = 7.0
"""Doublings of an axis beyond the sweep at which no prediction is made: a factor of 128."""

FARTHEST_DRIFTING = 3.0
"""The same along width or depth where the optimum drifts, as under standard parametrization."""

FARTHEST_OF_TWO = 2.0
"""The same where two sizes alone show the drift: no law can be told from another."""

_SHAPE = ("width", "depth")
"""Axes along which a rule promises that the optimum stays."""


def check(law: Law) -> None:
    """Raise if the target is out of the reach of what was measured.

    Raises:
        MutransferError: with the reason, and what to run next.
    """
    for axis, far in law.doublings.items():
        if far <= 0:
            continue
        if (reason := _out_of_reach(law, axis, far)) is not None:
            raise MutransferError(f"rule {law.evidence.record.rule!r}: {reason}; {_next(law)}")
    half, record = _half(law), law.evidence.record
    best = f"rule {record.rule!r}: the best {record.over} at {law.at}"
    if half > WIDEST and not _is_known(law):
        raise MutransferError(
            f"{best} is known to {_span(law)} on either side only, and more than {WIDEST:g} are of "
            f"no use; {_next(law)}"
        )
    if record.scale == "linear" and law.place.value >= range_of(record.over)[1]:
        raise MutransferError(
            f"{best} comes out at {range_of(record.over)[1]:g}, which it cannot be; {_next(law)}"
        )


def _out_of_reach(law: Law, axis: str, far: float) -> str | None:
    """Return why the target lies too far along an axis, if it does."""
    place = f"{axis} {law.at[axis]} is {2**far:.3g} times the largest"
    if far > FARTHEST:
        return f"{place}, and beyond {2**FARTHEST:g} times nothing is certified"
    drift = law.drift.get(axis)
    if axis in _SHAPE and drift and far > FARTHEST_DRIFTING and _is_large(law.evidence, drift):
        record = law.evidence.record
        moved = f"{distance_text(drift, record.scale)} {unit(record.scale, record.over)}"
        return (
            f"the optimum drifts {moved} per doubling of {axis}, and {place}: a drift is followed "
            f"up to {2**FARTHEST_DRIFTING:g} times; use a rule under which the optimum stays"
        )
    values = {size[axis] for size in law.evidence.sizes}
    known = is_known(law.evidence.record.over, axis)
    if len(values) == 2 and far > FARTHEST_OF_TWO and not known:
        return (
            f"two values of {axis} show no law, and {place}: from two, {2**FARTHEST_OF_TWO:g} "
            "times is the farthest"
        )
    return None


def warnings(law: Law) -> list[str]:
    """Return reasons to doubt the prediction."""
    if not law.axes:
        return [f"one size only, {law.at}, which says nothing of others"]
    moving = [axis for axis in law.axes if law.spans[axis] > 0]
    together = not are_separate(law.evidence.sizes, moving)
    half = _half(law)
    wide = f"the interval is {_span(law)} on either side: run a size nearer to the target"
    confused = f"{' and '.join(moving)} only vary together: one drift is not known"
    return [
        *([wide] if half > WIDEST else []),
        *([confused] if together else []),
        *(warning for axis in law.axes for warning in _axis(law, axis)),
    ]


def _axis(law: Law, axis: str) -> Iterator[str]:
    far, span, scale = law.doublings[axis], law.spans[axis], law.evidence.record.scale
    drift = law.drift.get(axis)
    if drift is None:
        yield (
            f"the sweep has one {axis} only, {law.evidence.sizes[-1][axis]}: its drift is taken "
            "from what is known of other people's models"
        )
        return
    if _is_large(law.evidence, drift):
        moved = f"{distance_text(drift, scale)} {unit(scale, law.evidence.record.over)}"
        promised = ": it does not transfer" if axis in _SHAPE else ""
        yield f"the optimum drifts {moved} per doubling of {axis}{promised}"
    elif far > 0 and law.verdicts[axis] != "within":
        # A drift that begins late or grows looks like this before it shows.
        yield (
            f"the sweep does not show that the drift per doubling of {axis} is within 0.1: "
            f"{distance_text(drift, scale)}"
        )
    assert law.average is not None, "a drift belongs to a law"
    if law.average.curved[law.axes.index(axis)]:
        yield (
            f"the drift changes along {axis}: a law through few sizes is no proof of what comes "
            "beyond them"
        )
    if 2**span < SMALLEST_SPAN:
        yield (
            f"the sweep spans a factor {2**span:.4g} in {axis}, too little to see a drift; use "
            f"{SMALLEST_SPAN} or more"
        )
    if far > span:
        yield (
            f"the target is {2**far:.4g} times the largest {axis}, farther than the sweep spans "
            f"({2**span:.4g} times)"
        )
    values = sorted({size[axis] for size in law.evidence.sizes})
    if far > 0 and len(values) == 3:
        yield f"three values of {axis} cannot show a drift that begins late; a fourth can"
    if law.at[axis] < values[0]:
        yield f"the target's {axis} {law.at[axis]} is smaller than any that was run, {values[0]}"


def _is_large(evidence: Evidence, drift: Estimate) -> bool:
    significant = drift.low > 0 or drift.high < 0
    return significant and abs(drift.value) > LARGEST_DRIFT * evidence.octave


def _half(law: Law) -> float:
    """Return the longer side of the interval at the target, in octaves."""
    place = law.place
    return max(place.high - place.value, place.value - place.low) / law.evidence.octave


def _span(law: Law) -> str:
    record = law.evidence.record
    return span_text(_half(law), law.evidence.octave, record.scale, record.over)


def _is_known(law: Law) -> bool:
    """Return True if priors hold the drift along all axes that lead to the target."""
    beyond = [axis for axis, far in law.doublings.items() if far > 0]
    return bool(beyond) and all(is_known(law.evidence.record.over, axis) for axis in beyond)


def _step(law: Law) -> float:
    """Return the usual distance of neighbours at the nearest size, in octaves."""
    record, values = law.evidence.record, law.evidence.grids[law.nearest].values
    return float(np.median(np.diff(positions(values, record.scale)))) / law.evidence.octave


def between(swept: Collection[int], largest: int, target: int) -> int:
    """Return a size about half way to a target, which the builder takes.

    It is the first of them times a power of two where they all are, else a multiple of what they
    have in common. Between neighbours there is none: then it is the target.

    >>> between({16, 32, 64}, 64, 256), between({2, 4}, 4, 8), between({96, 128}, 128, 10_000)
    (128, 6, 1088)
    """
    first, middle = min(swept), math.sqrt(largest * target)
    common = math.gcd(*swept)
    doubled = int(first * 2.0 ** round(math.log2(middle / first)))
    shared = common * round(float(f"{middle:.2g}") / common)
    are_doubled = all(math.log2(size / first).is_integer() for size in swept)
    ends = sorted([largest, target])
    for size in ([doubled] if are_doubled else []) + [shared, common * round(middle / common)]:
        if ends[0] < size < ends[1]:
            return size
    return target


def _next(law: Law) -> str:
    """Return the runs to make next: a size about half way to the target, or values."""
    largest, best = law.evidence.sizes[-1], law.evidence.optima[law.nearest]
    record = law.evidence.record
    own = max(best.high - best.position, best.position - best.low) / law.evidence.octave
    # Where the nearest optimum itself is that uncertain, a further size would be, too.
    if own > WIDEST and (step := _step(law)) > WIDEST:
        return (
            f"run values between those that were run at {best.size}, which are {step:.2g} "
            f"{unit(record.scale, record.over)} apart; more seeds alone would not narrow it"
        )
    if own > WIDEST:
        return f"run more seeds, or values between those that were run, at {best.size}"
    if law.measured is not None:
        return f"run more seeds, or values between those that were run, at {law.at}"
    halfway = {
        axis: between({size[axis] for size in law.evidence.sizes}, largest[axis], law.at[axis])
        for axis in law.axes
        if law.at[axis] != largest[axis]
    }
    return f"run {largest.grown(**halfway).along(halfway)} next, about half way to the target"
