"""Dispatch: gives jobs to the workers of an engine until all are in the record.

Whatever fails inside a job comes back as a value. So an error of its future means that the worker
was lost: killed, out of memory, or gone with its machine. Its job is given to another one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, replace

from ..engines import Executor, Future, Here
from ..training import Interrupted
from ._failures import Failure
from ._interrupts import Interrupts
from ._live import Live
from ._meter import Meter
from ._models import Models
from ._pickled import pickled
from ._piece import Piece
from ._signs import Beaten
from ._store import Row
from ._work import Job, Outcome, do, work

ATTEMPTS = 4
"""Times that a job may lose its worker before it is halved, and one run before it has failed."""

WAITING = 0.125
"""Weight of a loss of a job that had shown no sign of life: it may only have waited in a queue."""

FROZEN = 60.0
"""Seconds without a sign of life after which a worker is given up."""

HUNG = 1800.0
"""Seconds without a step after which a worker is given up; compiling takes minutes."""

_POLL = 0.1
"""Seconds between two looks at futures that nobody can wait for."""

_LOOK, _LOOKING = 0.5, 10
"""Least seconds between two looks at signs of life, and in times of what a look takes."""

_LONGEST = 5.0
"""Most seconds between two looks that count."""


@dataclass(eq=False)
class _Running:
    """A piece at a worker, its last sign of life, and seconds since that changed."""

    piece: Piece
    job: Job
    begun: float
    alive: int = -1
    steps: int = -1
    silent: float = 0.0
    still: float = 0.0


class Dispatcher:
    """Gives pieces to workers, and their rows to the record.

    Args:
        executor: The workers.
        models: The models of the study, for the worker that is this process.
        take: Takes the rows of runs that are through.
        live: Signs of life.
        meter: The progress.
        interrupts: Ctrl-C.
        path: Where this process finds its modules.
    """

    def __init__(
        self,
        executor: Executor,
        models: Models,
        take: Callable[[Sequence[Row]], None],
        *,
        live: Live,
        meter: Meter,
        interrupts: Interrupts,
        path: tuple[str, ...],
    ) -> None:
        self.executor, self.models, self.study = executor, models, models.study
        self.take, self.live, self.meter, self.interrupts = take, live, meter, interrupts
        self.running: dict[Future, _Running] = {}
        self._rows: list[Row] = []
        self._last = ""
        self._error: Exception | None = None
        self._next = self._looked = time.monotonic()
        self._hears = False
        self.is_here = isinstance(executor, Here)
        self._sent = (b"" if self.is_here else pickled(self.study), path)

    def run(self, pieces: Sequence[Piece]) -> None:
        """Train all pieces, the longest first where there are several workers.

        Raises:
            KeyboardInterrupt: the user asked to end; what is through is in the record.
        """
        ordered = (
            pieces if self.is_here else sorted(pieces, key=lambda each: -(each.seconds or 0.0))
        )
        queue = deque(ordered)
        most = self.executor.workers or len(queue)
        try:
            while self.running or queue:
                while queue and len(self.running) < most and not self.interrupts.is_asked:
                    self._submit(queue.popleft())
                for future in self._done():
                    queue.extendleft(self._settled(future))
                queue.extendleft(self._given_up())
                self._record()
                if self._error is not None:
                    raise self._error
                if self.interrupts.is_asked and self._ended():
                    raise KeyboardInterrupt
        except BaseException:
            self._record()
            # Nobody waits for the others.
            self.executor.close(at_once=True)
            raise

    def _record(self) -> None:
        """Record the rows of all jobs that ended since, in one write."""
        rows, self._rows = self._rows, []
        if rows:
            self.take(rows)
            self.meter.show(self._last, at_once=True)

    def _submit(self, piece: Piece) -> None:
        job, begun = piece.make(piece.runs), time.monotonic()
        self.meter.start(piece)
        if self.is_here:
            self.meter.show(piece.size)
            watch = self._watch(piece, job)
            future = self.executor.submit(piece.resources, do, job, self.models, watch)
        else:
            future = self.executor.submit(piece.resources, work, *self._sent, job)
        self.running[future] = _Running(piece, job, begun)

    def _watch(self, piece: Piece, job: Job) -> Callable[[int], None]:
        """Return the watch of a job in this process."""
        steps = 0

        def watch(count: int) -> None:
            nonlocal steps
            steps += count
            piece.share = min(1.0, steps / job.steps)
            try:
                self.meter.show(piece.size)
            except Exception as error:
                # Of the callback, not of the runs: they have not failed, and the sweep ends.
                self._error = error
                raise Interrupted from error
            self.interrupts.check()

        return watch

    def _done(self) -> list[Future]:
        """Return the futures that are done, after a short wait where none is."""
        known = [each for each in self.running if isinstance(each, futures.Future)]
        if len(known) == len(self.running):
            futures.wait(known, timeout=_POLL, return_when=futures.FIRST_COMPLETED)
        done = [future for future in self.running if future.done()]
        if not done and len(known) < len(self.running):
            time.sleep(_POLL)
        return done

    def _settled(self, future: Future) -> list[Piece]:
        """Record what a job brought; return the pieces that have to be trained again."""
        each = self.running.pop(future)
        if self.interrupts.is_at_once:
            # A training function caught the exception, and its run is not through.
            raise KeyboardInterrupt
        piece = each.piece
        piece.took = (time.monotonic() - each.begun) / (self.executor.workers or 1)
        try:
            outcome: Outcome = future.result()
        except (Exception, futures.CancelledError) as error:
            return self._again(each, Failure.of(error))
        if outcome.failure is not None:
            return self._failed(piece, outcome.failure)
        self._end(piece, outcome.rows)
        return []

    def _end(self, piece: Piece, rows: Sequence[Row]) -> None:
        """Keep the rows of a piece until they are recorded."""
        self.meter.end(piece)
        piece.share, self._last = 1.0, piece.size
        self._rows += rows

    def _failed(self, piece: Piece, failure: Failure) -> list[Piece]:
        """Return the halves of runs that failed together; record a single one as failed."""
        if len(piece.runs) > 1:
            if failure.is_memory:
                text = f"memory is too small for {len(piece.runs)} runs in a job: half as many"
                self.meter.say(f"{piece.size}: {text}", piece.size)
            halves = piece.halves()
            self.meter.replace(piece, halves)
            return halves
        self._end(piece, [failure.row(self.study, run) for run in piece.runs])
        return []

    def _again(self, lost: _Running, failure: Failure) -> list[Piece]:
        """Return a piece whose worker was lost, in halves after several times."""
        piece = lost.piece
        self.live.forget(lost.job.name)
        # Where the head of a cluster is gone all jobs are lost, also those that have not begun.
        has_begun = lost.alive >= 0 or not self._hears
        piece.losses, piece.share = piece.losses + (1.0 if has_begun else WAITING), 0.0
        if piece.losses < ATTEMPTS:
            text = f"a worker was lost, another one takes its {len(piece.runs)} runs"
            self.meter.say(f"{piece.size}: {text} ({failure.message.splitlines()[0][:200]})")
            return [piece]
        # Half as many need less memory. Each half has one more attempt, a single run is given up.
        piece.losses = ATTEMPTS - 1
        how = f"its worker was lost {ATTEMPTS} times or more, as where memory is short"
        message = f"{how}; the last time: {failure.message}"
        return self._failed(piece, replace(failure, message=message))

    def _given_up(self) -> list[Piece]:
        """Return the pieces of workers that show no sign of life, or no progress."""
        if self.is_here or not self.running:
            return []
        now = time.monotonic()
        if now < self._next:
            return []
        # A coordinator that was suspended has not waited in that time.
        passed, self._looked = min(now - self._looked, _LONGEST), now
        lost, beats = [], self.live.beats()
        self._hears |= bool(beats)
        for future, each in list(self.running.items()):
            # Without one a job waits in a queue, or its machine has no shared folder.
            beat = beats.get(each.job.name)
            if beat is not None and (why := self._silence(each, beat, passed)):
                del self.running[future]
                self.executor.discard(future)
                message = f"the worker {beat.host}:{beat.pid} {why} for a while"
                lost += self._again(each, Failure(message=message))
        self._next = now + max(_LOOK, _LOOKING * (time.monotonic() - now))
        return lost

    def _silence(self, each: _Running, beat: Beaten, passed: float) -> str:
        """Return why a worker is given up, empty where it is not."""
        each.silent = each.silent + passed if beat.alive == each.alive else 0.0
        each.still = each.still + passed if beat.steps == each.steps else 0.0
        if beat.steps != each.steps:
            each.piece.share = min(1.0, beat.steps / each.job.steps)
            self.meter.show(each.piece.size)
        each.alive, each.steps = beat.alive, beat.steps
        # A loop of one's own may report seldom.
        if each.still > HUNG and each.job.program is not None:
            return "did no step"
        return "gave no sign of life" if each.silent > FROZEN else ""

    def _ended(self) -> bool:
        """Ask the workers to end after their step; return True once they have."""
        self.live.ask_to_stop()
        for future in [future for future in self.running if future.cancel()]:
            del self.running[future]
        return not self.running
