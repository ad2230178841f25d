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
    """The progress of pieces.

    Args:
        progress: Receives it; None where nobody does.
        record: Returns the runs that it shows.
        live: Signs of life, which have it too.
    """

    def __init__(self, progress: OnProgress | None, record: Callable[[], Runs], live: Live) -> None:
        self._progress, self._record, self._live = progress, record, live
        self._start = time.monotonic()
        self._next = self._read = 0.0
        self._pieces: list[Piece] = []
        self._runs: Runs | None = None

    def say(self, note: str, what: str = "") -> None:
        """Report a remark."""
        if self._progress is not None:
            runs, elapsed = self._known(), time.monotonic() - self._start
            said = Progress(what=what, done=0, total=0, elapsed=elapsed, result=runs, note=note)
            self._progress(said)

    def begin(self, pieces: Sequence[Piece]) -> None:
        """Begin to count these pieces."""
        self._pieces = list(pieces)
        self._runs = None

    def replace(self, piece: Piece, others: Sequence[Piece]) -> None:
        """Count others in the place of a piece that was cut."""
        at = self._pieces.index(piece)
        self._pieces[at : at + 1] = others

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
        told = [each.took for each in self._pieces if each.took]
        usual = sum(told) / len(told) if told else 1.0
        times = [
            each.took or usual if each.seconds is None else each.seconds for each in self._pieces
        ]
        done = sum(t * each.share for t, each in zip(times, self._pieces, strict=True))
        return done, sum(times)

    def _known(self, *, newly: bool = False) -> Runs:
        """Return the runs of the record, read again where that is cheap."""
        start = time.monotonic()
        if self._runs is None or (newly and start >= self._read):
            self._runs = self._record()
            now = time.monotonic()
            self._read = now + _READING * (now - start)
        return self._runs
