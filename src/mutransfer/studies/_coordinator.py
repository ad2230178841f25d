"""The coordinator of a sweep, which gives jobs to workers and writes the record."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from ..core import Size
from ..engines import Executor, Here, Processes
from ..training import Judge, Program
from ._chunks import Chunk, chunks
from ._command import Command
from ._cost import seconds
from ._dispatch import Dispatcher
from ._failures import is_refusal
from ._interrupts import Interrupts
from ._live import Live
from ._meter import Meter
from ._models import Models
from ._pickled import pickled
from ._piece import Piece
from ._questions import answers
from ._run import Run
from ._shapes import Shape, shapes
from ._store import Row, Store
from ._way import Way
from ._ways import (
    Asked,
    choose_ways,
    choose_ways_apart,
    known_ways,
    needed,
    unmeasured,
)
from ._work import Job

MakeJudge = Callable[[Sequence[Run]], Judge | None]
"""Makes the judge of runs that train together; None where none of them may be stopped early."""

_BATCHES = 4
"""Further batches of a search that are expected, at most."""

_FOLLOWING = 2
"""Runs of a chunk for every slot, where some may be stopped and others follow."""

_SPARE = 1.5
"""Memory that is asked for a job, in measured peaks of a few steps."""


@dataclass(kw_only=True, eq=False)
class Coordinator:
    """The one that gives jobs to workers and writes the record.

    Attributes:
        models: The models of the study.
        store: The record.
        executor: The workers.
        device: Where runs train; by default where the models are.
        follow: Runs of each size that the search may still ask for, as compiling has to pay.
        done: Ids of the runs that need not be trained.
        live: Signs of life.
        meter: The progress.
        interrupts: Ctrl-C.
    """

    models: Models
    store: Store
    executor: Executor
    device: str | None
    follow: Mapping[Size, int]
    done: set[str]
    live: Live
    meter: Meter
    interrupts: Interrupts

    def __post_init__(self) -> None:
        self._names = count()
        self._path = tuple(sys.path)

    def finish(self, wanted: Sequence[Run], make_judge: MakeJudge) -> None:
        """Train the runs that are not in the record.

        Args:
            wanted: The runs.
            make_judge: Makes the judges of hopeless runs.

        Raises:
            KeyboardInterrupt: the user asked to end; what is through is in the record.
            MutransferError: a model does not fit its rule, or the folder cannot be written.
        """
        if self.models.study.train is not None:
            pieces = [self._alone(run) for run in wanted if self._is_left(run)]
            self.meter.begin(pieces)
            self._dispatch(self.executor, pieces)
            return
        left = [
            shape
            for shape in shapes(self.models.study, wanted, self.device)
            if any(map(self._is_left, shape.runs))
        ]
        self._check(left)
        alone: list[Piece] = []
        shared: list[Piece] = []
        for shape, way in zip(left, self._ways(left), strict=True):
            some = shared if way.processes > 1 else alone
            some.extend(self._pieces(shape, way, make_judge))
        self.meter.begin([*shared, *alone])
        if not isinstance(self.executor, Here):
            self._dispatch(self.executor, [*shared, *alone])
            return
        if shared:
            self._dispatch(Processes(), shared)
        self._dispatch(self.executor, alone)

    def _is_left(self, run: Run) -> bool:
        return self.models.study.run_id(run) not in self.done

    def _check(self, left: Sequence[Shape]) -> None:
        """Raise where a rule refuses a size, before anything is trained."""
        for shape in left:
            for run in {run.rule: run for run in shape.runs}.values():
                try:
                    self.models.plan(run)
                except Exception as error:
                    if is_refusal(error):
                        raise
                    # A bug in the builder: the runs of this size fail, with rows that say why.
                    break

    def _ways(self, left: Sequence[Shape]) -> list[Way]:
        """Return the way of each shape, that of the record or one measured now."""
        ways, asked = known_ways(self.models, map(self._asked, left), self.store.ways())
        for each, measured in zip(asked, self._measured(asked), strict=True):
            if measured is not None:
                self._keep(each.shape, measured)
            ways[each.shape.key] = measured or unmeasured(self.models, each.shape)
        return [ways[shape.key] for shape in left]

    def _asked(self, shape: Shape) -> Asked:
        # A search asks for few runs at once: half of its grid, or some times as many as now.
        runs, follow = len(shape.runs), self.follow.get(shape.size, 0)
        return Asked(shape=shape, expected=runs + min(follow // 2, _BATCHES * runs))

    def _measured(self, asked: Sequence[Asked]) -> list[Way | None]:
        self.live.update(what="measuring the quickest ways", done=0.0, total=0.0)
        if isinstance(self.executor, Here) or not asked:
            return choose_ways(self.models, asked, self.device, self.interrupts.check)
        sent = pickled(self.models.study), self._path
        ask = partial(answers, self.executor, live=self.live, interrupts=self.interrupts)
        return choose_ways_apart(self.models, asked, self.executor, sent, self.device, ask=ask)

    def _keep(self, shape: Shape, way: Way) -> None:
        """Record a way before the first step, so that the rest trains alike later."""
        self.store.add_way(shape.key, {"size": str(shape.size), **way.to_json()})
        self.meter.say(f"{shape.size}: {way}; {way.reason}", str(shape.size))
        self.interrupts.check()

    def _pieces(self, shape: Shape, way: Way, make_judge: MakeJudge) -> Iterator[Piece]:
        """Yield the runs of a shape in pieces, those that the record lacks."""
        # A judge stops runs early, and others follow in their places.
        room = 1 if make_judge(shape.runs) is None else _FOLLOWING
        is_here = isinstance(self.executor, Here) and way.processes == 1
        total = seconds(self.models.study, shape, way)
        memory = None if way.memory is None else math.ceil(_SPARE * way.memory)

        def make(whole: Chunk, runs: Sequence[Run]) -> Job:
            if is_here:
                # What fails here fails again in the job, which says so.
                with suppress(Exception):
                    self.models.prepare(shape.runs)
            program = _for_share(whole.program, len(runs) / len(whole.runs))
            return self._job(runs, program, make_judge(runs))

        for chunk in chunks(self.models, shape, way.program, room=room, processes=way.processes):
            if any(map(self._is_left, chunk.runs)):
                yield Piece(
                    runs=tuple(chunk.runs),
                    make=partial(make, chunk),
                    resources=needed(self.device, memory),
                    seconds=total * len(chunk.runs) / len(shape.runs),
                )

    def _alone(self, run: Run) -> Piece:
        """Return the piece of a run in a training function of one's own."""
        return Piece(
            runs=(run,),
            make=lambda runs: self._job(runs, None, None),
            resources=needed(self.device),
        )

    def _job(self, runs: Sequence[Run], program: Program | None, judge: Judge | None) -> Job:
        return Job(
            name=f"{next(self._names):06d}",
            size=str(runs[0].size),
            runs=tuple(runs),
            steps=sum(map(self.models.study.length, runs)),
            program=program,
            device=self.device,
            judge=judge,
            folder=self.store.folder.absolute(),
            live=self.live.folder,
            sweep=self.live.sweep,
            is_command=isinstance(self.models.study.train, Command),
        )

    def _dispatch(self, executor: Executor, pieces: Sequence[Piece]) -> None:
        if pieces:
            Dispatcher(
                executor,
                self.models,
                self._take,
                live=self.live,
                meter=self.meter,
                interrupts=self.interrupts,
                path=self._path,
            ).run(pieces)

    def _take(self, rows: Sequence[Row]) -> None:
        """Record rows that are new; a job may have been trained twice."""
        new = [row for row in rows if row["id"] not in self.done]
        if new:
            self.store.append(new)
        self.done.update(row["id"] for row in new)


def _for_share(program: Program, share: float) -> Program:
    """Return the program for a share of a piece, which needs less memory."""
    if share == 1 or program.slots is None:
        return program
    # A compiled program has all its slots, however few runs it trains.
    return replace(program, slots=math.ceil(share * program.slots))
