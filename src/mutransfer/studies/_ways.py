"""The choice of a way for each shape of a sweep, measured over a few steps."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..core import MutransferError
from ..engines import Executor, Processes, Resources, cores
from ..training import COMPILING, WORTH, Candidate, Choice, Program, even, fitting
from ._measure import TRIED, choice, choice_apart, pace_apart, ready, spread
from ._models import Models
from ._pickled import pickled
from ._questions import Question
from ._shapes import Shape
from ._sizes import evaluations
from ._way import Way

_FEW = 1000
"""Member-steps of a shape below which nothing is measured: any program is quick enough."""

_SHARED = 8.0
"""Seconds of training from which several processes are tried; they take some to begin."""

_LONG = 2.0
"""Seconds of one shape from which it is tried in them."""

_BETTER = 0.95
"""Several processes are taken where they need less than this share of the time of one."""


Sent = tuple[bytes, tuple[str, ...]]
"""A pickled study, and where its modules are."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A shape that needs a way.

    Attributes:
        shape: The shape.
        expected: Runs of it that will follow, these included.
    """

    shape: Shape
    expected: int


def known_ways(
    models: Models, asked: Iterable[Asked], recorded: Mapping[str, Any]
) -> tuple[dict[str, Way], list[Asked]]:
    """Return the ways of shapes by key, and those shapes whose way has to be measured.

    Args:
        models: The models of the study.
        asked: The shapes.
        recorded: Ways of the record.
    """
    ways: dict[str, Way] = {}
    left = []
    for each in asked:
        shape = each.shape
        if shape.key in recorded:
            ways[shape.key] = Way.from_json(recorded[shape.key])
        elif each.expected * models.study.length(shape.runs[0]) <= _FEW:
            ways[shape.key] = unmeasured(models, shape)
        else:
            left.append(each)
    return ways, left


def unmeasured(models: Models, shape: Shape) -> Way:
    """Return a way that serves where nothing is measured."""
    slots = TRIED
    # Where the builder fails, so will the runs, with rows that say why.
    with suppress(Exception):
        slots = min(TRIED, fitting(models.entries(shape.runs[0])))
    return Way(program=Program(slots=slots), reason="too few steps to measure")


def choose_way(models: Models, shape: Shape, device: str | None = None) -> Way:
    """Return one program for a shape in this process, with its pace over a few steps.

    Raises:
        MutransferError: the model fails.
    """
    found = choice(models, shape.runs, device, len(shape.runs), thorough=False)
    return _way(found, found.best)


def _go_on() -> None:
    """Do nothing: nobody asks to end."""


def choose_ways(
    models: Models,
    asked: Sequence[Asked],
    device: str | None,
    check: Callable[[], None] = _go_on,
) -> list[Way | None]:
    """Return the quickest way of each shape here; None where its model fails.

    Shapes share processes: while one of them trains the largest, others train the rest.

    Args:
        models: The models of the study.
        asked: The shapes.
        device: Where they train.
        check: Called before each measurement, which takes seconds to minutes; may raise.
    """
    choices = []
    for each in asked:
        check()
        choices.append(_tried(models, each, device))
    ways = [None if found is None else _way(found, found.best) for found in choices]
    times = [
        0.0 if way is None else _time(models, each, way)
        for each, way in zip(asked, ways, strict=True)
    ]
    if device is not None or sum(times) < _SHARED or cores() < 2:
        return list(ways)
    try:
        sent, workers = (pickled(models.study), tuple(sys.path)), Processes()
    except MutransferError as error:
        reason = f"one process: {error}"
        return [way and replace(way, reason=f"{way.reason}; {reason}") for way in ways]
    _all(workers, ready)
    share, found_ways = sum(times) / cores(), list(ways)
    for number, (each, found, seconds) in enumerate(zip(asked, choices, times, strict=True)):
        check()
        if found is not None and seconds >= _LONG:
            # Pieces no longer than a worker's share, or one of them ends long after the others.
            most = math.ceil(len(each.shape.runs) / math.ceil(seconds / share))
            found_ways[number] = _shared(models, each, found, most, workers, sent)
    return found_ways


def choose_ways_apart(
    models: Models,
    asked: Sequence[Asked],
    executor: Executor,
    sent: Sent,
    device: str | None,
    *,
    ask: Callable[[Sequence[Question]], list[Any]],
) -> list[Way | None]:
    """Return the way of each shape in an engine; None where its model fails.

    Args:
        models: The models of the study.
        asked: The shapes.
        executor: The workers, each of which measures a shape.
        sent: The pickled study, and where its modules are.
        device: Where they train.
        ask: Gets answers of the workers, None of those that were lost.
    """
    found = ask(
        [
            Question(
                about={"size": str(each.shape.size), "runs": len(each.shape.runs)},
                resources=needed(device),
                function=choice_apart,
                arguments=(*sent, each.shape.runs, device, each.expected),
            )
            for each in asked
        ]
    )
    workers = executor.workers or cores()
    times = [
        0.0 if one is None else _time(models, each, _way(one[0], one[0].best))
        for each, one in zip(asked, found, strict=True)
    ]
    share = max(sum(times) / workers, executor.shortest)
    ways: list[Way | None] = []
    for each, one, seconds in zip(asked, found, times, strict=True):
        if one is None:
            ways.append(None)
            continue
        most = math.ceil(len(each.shape.runs) / max(1, math.ceil(seconds / share)))
        way = replace(_way(one[0], _cut(one[0].best, each, most)), memory=one[1])
        ways.append(_side_by_side(way, workers, [way]))
    return ways


def needed(device: str | None, memory: int | None = None) -> Resources:
    """Return what a worker needs: one core, and a card where models train on one."""
    on_card = device is not None and device.startswith("cuda")
    return Resources(cpus=1, gpus=int(on_card), memory=memory)


def _tried(models: Models, asked: Asked, device: str | None) -> Choice | None:
    try:
        return choice(models, asked.shape.runs, device, asked.expected)
    except Exception:
        # The same runs fail when they are trained, with rows that say why.
        return None


def _way(found: Choice, best: Candidate) -> Way:
    """Return a program of a choice as a way in one process."""
    return Way(
        program=best.program,
        seconds=best.seconds,
        evaluation=best.evaluation,
        start=best.start,
        reason=found.reason,
        others=tuple(f"{each}" for each in found.others),
    )


def _time(models: Models, asked: Asked, way: Way) -> float:
    """Return the seconds of the runs that are expected; what was compiled is paid."""
    study, shape = models.study, asked.shape
    steps = study.length(shape.runs[0])
    return way.total(asked.expected, steps, evaluations(study, shape.size)) - way.start


def _cut(candidate: Candidate, asked: Asked, most: int) -> Candidate:
    """Return a program of at most so many slots for workers of one thread."""
    slots = even(len(asked.shape.runs), min(candidate.program.slots or most, most))
    return replace(candidate, program=replace(candidate.program, slots=slots, threads=None))


def _wider(best: Candidate, seconds: float) -> list[Candidate]:
    """Return a compiled stack with twice its slots, where compiling it may pay.

    Side by side, two processes were seen to be half again as quick with 16 slots as with the 8
    that are best alone.
    """
    slots = best.program.slots or 1
    if not best.program.compiled or slots < 2 or seconds < WORTH * COMPILING:
        return []
    return [replace(best, program=replace(best.program, slots=2 * slots))]


def _side_by_side(way: Way, workers: int, paces: Sequence[Candidate | Way]) -> Way:
    """Return a way in several workers, at the pace of the slowest of those measured."""
    return replace(
        way,
        processes=workers,
        seconds=max(pace.seconds or 0.0 for pace in paces) / workers,
        evaluation=max(pace.evaluation for pace in paces) / workers,
    )


def _shared(
    models: Models, asked: Asked, found: Choice, most: int, workers: Processes, sent: Sent
) -> Way:
    """Return the way in several processes, where they are quicker."""
    alone = _way(found, found.best)
    ways = [alone]
    runs = spread(asked.shape.runs, fitting(models.entries(asked.shape.runs[0])))
    # What gains least by all threads may gain most by several processes.
    loops = [e for e in found.others if e.program.slots == 1 and e.program.threads is None]
    tried = [found.best, *_wider(found.best, _time(models, asked, alone)), *loops]
    cut = [_cut(each, asked, most) for each in tried]
    for candidate in {each.program: each for each in cut}.values():
        starts = paces = _all(workers, pace_apart, *sent, runs, candidate)
        if candidate.program.compiled:
            # The first time they compile; the second time their steps are side by side.
            paces = _all(workers, pace_apart, *sent, runs, candidate)
        if any(pace.warned for pace in paces):
            continue
        way = replace(alone, program=candidate.program, start=max(each.start for each in starts))
        ways.append(_side_by_side(way, len(paces), paces))
    known = [(_time(models, asked, way), way) for way in ways]
    time, best = min(known[1:], key=lambda pair: pair[0], default=known[0])
    if time > _BETTER * known[0][0]:
        best = alone
    left_out = tuple(str(way) for way in ways if way is not best)
    return replace(best, others=tuple(dict.fromkeys([*left_out, *alone.others])))


def _all(workers: Processes, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return the results of a function in all workers at once."""
    count = workers.workers or 1
    futures = [workers.submit(Resources(), function, *arguments) for _ in range(count)]
    return [future.result() for future in futures]
