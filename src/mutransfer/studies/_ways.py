"""Ways: the program and the processes that train the runs of a shape."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core import MutransferError, parsing
from ..training import Candidate, Program, choose, even, fitting
from ._chunks import members_of
from ._models import Models
from ._shapes import Shape
from ._workers import Workers

_FEW = 1000
"""Member-steps of a shape below which nothing is measured: any program is quick enough."""

_UNKNOWN = 1e-3
"""Seconds of one step of one run, for progress where nothing was measured."""

_TRIED = 64
"""Most runs that a measurement trains for a few steps."""

_SHARED = 60.0
"""Seconds of training from which several processes are tried; they take some to begin."""

_BETTER = 0.95
"""Several processes are taken where they need less than this share of the time of one."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way in which the runs of a shape are trained.

    Attributes:
        program: The program of each process.
        processes: One-thread processes that share the runs; 1 for this process alone.
        seconds: Measured seconds of one step of one run, in all processes together; None where
            nothing was measured.
        evaluation: Measured seconds of one evaluation of one run.
        start: Measured seconds of compiling.
        reason: Why it was chosen.
        others: The other ways that were measured, in words.
    """

    program: Program
    processes: int = 1
    seconds: float | None = None
    evaluation: float = 0.0
    start: float = 0.0
    reason: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "" if self.processes == 1 else f", in {self.processes} one-thread processes"
        pace = "" if self.seconds is None else f", {1e3 * self.seconds:.3g} ms a step of a run"
        return f"{self.program}{where}{pace}"

    def total(self, runs: int, steps: int, evaluations: int) -> float:
        """Return the seconds that training takes."""
        pace = _UNKNOWN if self.seconds is None else self.seconds
        return self.start + runs * (steps * pace + evaluations * self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Return the way as data."""
        return {**vars(self), "program": self.program.to_json(), "others": list(self.others)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Way:
        """Return the way that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a way of training written by Way.to_json"):
            known = {each.name: data[each.name] for each in fields(cls)}
            known["program"] = Program.from_json(data["program"])
            return cls(**{**known, "others": tuple(data["others"])})


def choose_way(
    models: Models,
    shape: Shape,
    device: str | None = None,
    *,
    expected: int = 0,
    thorough: bool = True,
) -> Way:
    """Return the quickest way to train the runs of a shape, measured over a few steps.

    Args:
        models: The models of the study.
        shape: The runs.
        device: Where they train.
        expected: Runs of this shape that will follow, these included; these alone by default.
        thorough: False to measure one program in this process alone.

    Raises:
        MutransferError: the model fails.
    """
    runs, expected = _spread(shape.runs), max(expected, len(shape.runs))
    members, shared = members_of(models, runs, device)
    try:
        choice = choose(members, shared, expected, thorough=thorough)
    finally:
        models.trim()
    # What was compiled to be measured is paid, whatever is chosen.
    total = choice.best.total(expected, shared) - choice.best.start
    others = tuple(f"{each}" for each in choice.others)
    best = choice.best
    alone = Way(
        program=best.program,
        seconds=best.seconds,
        evaluation=best.evaluation,
        start=best.start,
        reason=choice.reason,
        others=others,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not thorough or device is not None or total < _SHARED or (cores or 1) < 2:
        return alone
    return _shared(models, shape, alone, [best, *choice.others], cores or 1, expected)


def _spread(runs: Sequence[Any]) -> list[Any]:
    """Return at most so many runs as are measured, from all rules and rates."""
    stride = max(1, len(runs) // _TRIED)
    return list(runs[::stride][:_TRIED])


def _shared(
    models: Models,
    shape: Shape,
    alone: Way,
    candidates: Sequence[Candidate],
    cores: int,
    expected: int,
) -> Way:
    """Return the way in several processes, where they are quicker."""
    try:
        workers = Workers(models.study, cores)
    except MutransferError as error:
        return replace(alone, reason=f"{alone.reason}; one process: {error}")
    ways, runs = [alone], _spread(shape.runs)
    loops = [each for each in candidates if each.program.slots == 1 and each.program.compiled]
    most = math.ceil(len(shape.runs) / cores)
    for each in dict.fromkeys([candidates[0], *loops]):
        slots = even(len(shape.runs), min(each.program.slots or most, most))
        candidate = replace(each, program=replace(each.program, slots=slots))
        # The first time they compile; the second time their steps are side by side.
        starts = workers.measured(runs, candidate)
        paces = workers.measured(runs, candidate)
        if any(pace.warned for pace in paces):
            continue
        ways.append(
            replace(
                alone,
                program=candidate.program,
                processes=cores,
                seconds=max(pace.seconds for pace in paces) / cores,
                evaluation=max(pace.evaluation for pace in paces) / cores,
                start=max(each.start for each in starts),
            )
        )
    steps = models.study.length(shape.runs[0])
    known = [(way.total(expected, steps, 1) - way.start, way) for way in ways]
    time, best = min(known[1:], key=lambda pair: pair[0], default=known[0])
    if time > _BETTER * known[0][0]:
        best = alone
    left_out = tuple(str(way) for way in ways if way is not best)
    return replace(best, others=tuple(dict.fromkeys([*left_out, *alone.others])))


def default_way(models: Models, shape: Shape, expected: int = 0) -> Way | None:
    """Return the way of runs too few to measure anything, None for others."""
    run = shape.runs[0]
    if max(expected, len(shape.runs)) * models.study.length(run) > _FEW:
        return None
    program = Program(slots=min(_TRIED, fitting(models.entries(run))))
    return Way(program=program, reason="too few steps to measure")
