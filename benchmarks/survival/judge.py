"""The judge of a record that was disturbed: what is lost, repeated, or different."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .sweeps import Place

ROUNDING = 1e-9
"""Relative difference up to which losses are alike: programs of other runs round otherwise."""

_TIMES = ("seconds",)
"""Columns that say how long a run took."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The state of a sweep when it was disturbed.

    Attributes:
        known: Runs in the record.
        trained: Trainings that had begun.
    """

    known: frozenset[str]
    trained: int

    @classmethod
    def of(cls, place: Place) -> Moment:
        """Return the present state of a sweep."""
        # In this order: a training that begins in between was not asked for afterwards.
        known = frozenset(place.ids())
        return cls(known=known, trained=len(place.trained()))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A sweep that was disturbed, beside one that was not.

    Attributes:
        before: Runs in the record at each disturbance.
        runs: Runs that an undisturbed sweep has.
        after: Those that this one has in the end.
        lost: Runs that were in the record once, and are no longer; and runs that it lacks.
        repeated: Runs that were trained again, or written again, after they were in the record.
        along: Runs in the record that were trained again with others of their job, which lacked.
        differ: Runs whose rows differ.
        exact: Runs whose rows are the same to the last bit, but for their time.
    """

    before: tuple[int, ...]
    runs: int
    after: int
    lost: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    exact: int = 0

    def is_bad(self) -> bool:
        """Return True if something was lost or repeated, or a row is another."""
        return bool(self.lost or self.repeated or self.differ) or self.after < self.runs


def judge(
    whole: Sequence[Row],
    place: Place,
    moments: Sequence[Moment],
    *,
    rows: Sequence[Row],
    damaged: Collection[str] = (),
) -> Verdict:
    """Return the verdict on a record.

    Args:
        whole: Rows of an undisturbed sweep.
        place: The disturbed one.
        moments: Its states when it was disturbed.
        rows: The rows that the library reads from its record.
        damaged: Runs whose rows were destroyed on purpose, which have to be trained again.
    """
    wanted, found = ({row["id"]: row for row in each} for each in (whole, rows))
    once = {run for moment in moments for run in moment.known}
    written = Counter(row["id"] for row in place.lines() if row.get("status") != "failed")
    trained, again, along = place.trained(), set[str](), set[str]()
    for moment in moments:
        known = moment.known - set(damaged)
        for together in trained[moment.trained :]:
            # Runs that trained as one program train so again, that they round alike.
            (again if together <= known else along).update(together & known)
    twice = {run for run, count in written.items() if count > 1}
    shared = wanted.keys() & found.keys()
    return Verdict(
        before=tuple(len(moment.known) for moment in moments),
        runs=len(wanted),
        after=len(shared),
        lost=tuple(sorted((once | wanted.keys()) - found.keys())),
        repeated=tuple(sorted(again | twice - set(damaged))),
        along=tuple(sorted(along)),
        differ=tuple(sorted(run for run in shared if not _alike(wanted[run], found[run]))),
        exact=sum(_timeless(wanted[run]) == _timeless(found[run]) for run in shared),
    )


def _timeless(row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name not in _TIMES}


def _alike(one: Any, other: Any) -> bool:
    """Return True if values differ by rounding at most."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        one, other = _timeless(one), _timeless(other)
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)
