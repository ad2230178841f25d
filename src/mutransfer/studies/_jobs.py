"""Jobs of a sweep: what the record lacks, each shape in its quickest way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core import FrozenDict, OnProgress, Progress, Size
from ..training import Judge, Watch
from ._chunks import Chunk, chunks
from ._cost import seconds
from ._models import Models
from ._run import Run
from ._runs import Runs
from ._shapes import Shape, shapes
from ._store import Row, Store
from ._ways import Way, choose_way, default_way
from ._workers import Workers

MakeJudge = Callable[[Sequence[Run]], Judge | None]
"""Makes the judge of runs that train together; None where none of them may be stopped early."""

_PAUSE = 0.2
"""Seconds between two calls of a progress callback."""

_BATCHES = 4
"""Further batches of a search that are expected, at most."""

_FOLLOWING = 2
"""Runs of a chunk for every slot, where some may be stopped and others follow."""


def finish(
    models: Models,
    store: Store,
    wanted: Sequence[Run],
    *,
    device: str | None = None,
    make_judge: MakeJudge = lambda runs: None,
    follow: Mapping[Size, int] = FrozenDict(),
    progress: OnProgress | None = None,
    record: Callable[[], Runs],
) -> None:
    """Train the runs that are not in the record.

    Args:
        models: The models of the study.
        store: The record.
        wanted: The runs.
        device: Where they train; by default where the models are.
        make_judge: Makes the judges of hopeless runs.
        follow: Runs of each size that the search may still ask for, as compiling has to pay.
        progress: Receives the progress.
        record: Returns the runs that progress shows.
    """
    done = {row["id"] for row in store.rows() if row.get("status") != "failed"}
    left = [
        shape
        for shape in shapes(models.study, wanted, device)
        if any(models.study.run_id(run) not in done for run in shape.runs)
    ]
    meter = Meter(progress, record)
    jobs = [_job(models, store, each, device, follow.get(each.size, 0), meter) for each in left]
    for job in jobs:
        meter.begin(job, jobs)
        models.prepare(job.shape.runs)
        room = 1 if make_judge(job.shape.runs) is None else _FOLLOWING
        pieces = [
            (chunk, make_judge(chunk.runs))
            for chunk in chunks(
                models,
                job.shape,
                job.way.program,
                device,
                room=room,
                processes=job.way.processes,
            )
            if any(models.study.run_id(run) not in done for run in chunk.runs)
        ]
        for rows in _trained(models, job.way, pieces, meter.watch if progress else None):
            store.append(row for row in rows if row["id"] not in done)
    if jobs:
        meter.end(jobs)


@dataclass(frozen=True)
class Job:
    """The runs of one shape, and the way in which they train.

    Attributes:
        shape: The runs.
        way: The way.
        steps: Number of optimizer steps of a run.
        seconds: Time that it takes, as estimated from the measured pace.
    """

    shape: Shape
    way: Way
    steps: int
    seconds: float


def _job(
    models: Models, store: Store, shape: Shape, device: str | None, follow: int, meter: Meter
) -> Job:
    """Return a shape with its way, that of the record or one measured now."""
    study = models.study
    steps, known = study.length(shape.runs[0]), store.ways().get(shape.key)
    # A search asks for few runs at once: half of its grid, or some times as many as now.
    expected = len(shape.runs) + min(follow // 2, _BATCHES * len(shape.runs))
    way = default_way(models, shape, expected) if known is None else Way.from_json(known)
    if way is None:
        way = choose_way(models, shape, device, expected=expected)
        # Before the first step: a sweep that is taken up again trains the rest alike.
        store.add_way(shape.key, {"size": str(shape.size), **way.to_json()})
        meter.say(f"{shape.size}: {way}; {way.reason}", str(shape.size))
    return Job(shape, way, steps, seconds(study, shape, way))


def _trained(
    models: Models,
    way: Way,
    pieces: Sequence[tuple[Chunk, Judge | None]],
    watch: Watch | None,
) -> Iterator[list[Row]]:
    """Yield the rows of chunks, as they are finished."""
    if way.processes == 1 or len(pieces) < 2:
        yield from (chunk.rows(watch, judge) for chunk, judge in pieces)
        return
    yield from Workers(models.study, way.processes).rows(pieces, watch)


class Meter:
    """The progress of jobs, in seconds as estimated beforehand.

    Args:
        progress: Receives it; None where nobody does.
        record: Returns the runs that it shows.
    """

    def __init__(self, progress: OnProgress | None, record: Callable[[], Runs]) -> None:
        self._progress, self._record = progress, record
        self._start = time.monotonic()
        self._last = self._before = self._total = 0.0
        self._steps = 0
        self._job: Job | None = None
        self._runs: Runs | None = None

    def say(self, note: str, what: str) -> None:
        """Report a remark."""
        if self._progress is not None:
            runs, elapsed = self._record(), time.monotonic() - self._start
            said = Progress(what=what, done=0, total=0, elapsed=elapsed, result=runs, note=note)
            self._progress(said)

    def begin(self, job: Job, jobs: Sequence[Job]) -> None:
        """Begin a job."""
        if self._progress is not None:
            self._before += 0.0 if self._job is None else self._job.seconds
            self._total, self._job, self._steps = sum(j.seconds for j in jobs), job, 0
            # The first step of a job is reported, with what was finished before it.
            self._runs, self._last = self._record(), 0.0

    def watch(self, count: int) -> None:
        """Report steps of the job's runs, several times a second."""
        assert self._job is not None
        self._steps, now = self._steps + count, time.monotonic()
        if now - self._last <= _PAUSE:
            return
        self._last = now
        share = self._steps / (self._job.steps * len(self._job.shape.runs))
        self._send(self._before + self._job.seconds * min(1.0, share))

    def end(self, jobs: Sequence[Job]) -> None:
        """Report the end of all jobs."""
        if self._progress is not None:
            self._runs = self._record()
            self._send(self._total)

    def _send(self, done: float) -> None:
        assert self._progress is not None and self._job is not None
        elapsed, what = time.monotonic() - self._start, str(self._job.shape.size)
        self._progress(
            Progress(what=what, done=done, total=self._total, elapsed=elapsed, result=self._runs)
        )
