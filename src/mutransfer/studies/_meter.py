"""The progress of a sweep over all workers, in seconds as estimated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..core import OnProgress, Progress
from ._live import Live
from ._piece import Piece
from ._runs import Runs

_PAUSE = 0.2
"""Seconds between two calls of a progress callback."""

_READING = 10
"""Most time between two looks at the record, in times of one: large records take seconds."""


class Meter:
    """The progress of the pieces of all batches so far.

    Sums are kept as pieces begin and end: there may be a hundred thousand.

    Args:
        progress: Receives it; None where nobody does.
        record: Returns the runs that it shows.
        live: Signs of life, which have it too.
    """

    def __init__(self, progress: OnProgress | None, record: Callable[[], Runs], live: Live) -> None:
        self._progress, self._record, self._live = progress, record, live
        self._start = time.monotonic()
        self._next = self._read = 0.0
        self._runs: Runs | None = None
        self._running: set[Piece] = set()
        # Estimated seconds of all pieces, and of those that have ended.
        self._total = self._ended = 0.0
        # Pieces that nobody can time beforehand: those left, those that ended, their time.
        self._untimed, self._timed, self._took = 0, 0, 0.0

    def say(self, note: str, what: str = "") -> None:
        """Report a remark."""
        if self._progress is not None:
            runs, elapsed = self._known(), time.monotonic() - self._start
            said = Progress(what=what, done=0, total=0, elapsed=elapsed, result=runs, note=note)
            self._progress(said)

    def begin(self, pieces: Sequence[Piece]) -> None:
        """Begin to count these pieces, too."""
        self._count(pieces, 1)
        self._runs = None

    def replace(self, piece: Piece, others: Sequence[Piece]) -> None:
        """Count others in the place of a piece that was cut."""
        self._running.discard(piece)
        self._count([piece], -1)
        self._count(others, 1)

    def start(self, piece: Piece) -> None:
        """Count the share of a piece from now on."""
        self._running.add(piece)

    def end(self, piece: Piece) -> None:
        """Count a piece as done."""
        self._running.discard(piece)
        if piece.seconds is None:
            self._untimed, self._timed = self._untimed - 1, self._timed + 1
            self._took += piece.took
        else:
            self._ended += piece.seconds

    def show(self, what: str, *, at_once: bool = False) -> None:
        """Report how far the pieces are, several times a second at most.

        Args:
            what: The piece that is worked on, in words.
            at_once: True to report in any case.
        """
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        self._next = now + _PAUSE
        done, total = self._sums()
        elapsed = now - self._start
        self._live.update(what=what, done=done, total=total, elapsed=elapsed)
        if self._progress is not None:
            runs = self._known(newly=at_once)
            self._progress(
                Progress(what=what, done=done, total=total, elapsed=elapsed, result=runs)
            )

    def _sums(self) -> tuple[float, float]:
        """Return the seconds that are done, and those of all pieces."""
        # A training function of one's own cannot be timed beforehand: the others tell.
        took = self._took
        usual = took / self._timed if self._timed else 1.0
        begun = sum(
            each.share * (usual if each.seconds is None else each.seconds) for each in self._running
        )
        total = self._total + took + usual * self._untimed
        # Sums of the same numbers in another order differ by rounding.
        return min(self._ended + took + begun, total), total

    def _count(self, pieces: Sequence[Piece], sign: int) -> None:
        self._total += sign * sum(each.seconds or 0.0 for each in pieces)
        self._untimed += sign * sum(each.seconds is None for each in pieces)

    def _known(self, *, newly: bool = False) -> Runs:
        """Return the runs of the record, read again where that is cheap."""
        start = time.monotonic()
        if self._runs is None or (newly and start >= self._read):
            self._runs = self._record()
            now = time.monotonic()
            self._read = now + _READING * (now - start)
        return self._runs
