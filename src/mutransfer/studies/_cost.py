"""The cost of a study before it starts: runs, steps, FLOPs, time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..core import MutransferError, Result, parsed, parsing, plain
from ..tasks import inputs_like, take
from ..training import called, placed
from ._models import Models
from ._run import Run
from ._shapes import Shape, shapes
from ._sizes import evaluations
from ._study import Study
from ._way import Way
from ._ways import choose_way


@dataclass(frozen=True, kw_only=True, repr=False)
class Cost(Result):
    """The cost of training some runs of a study.

    Attributes:
        runs: How many runs.
        member_steps: Optimizer steps of all runs together.
        flops: Floating point operations, three times those of the forward passes.
        seconds: Time on this machine, from a few timed steps of each shape; None where a training
            function of one's own cannot be timed.
        memory: Bytes of parameters, gradients and optimizer state of the largest stack.
    """

    runs: int
    member_steps: int
    flops: float | None
    seconds: float | None
    memory: int

    def __str__(self) -> str:
        parts = [
            f"{self.runs} run{'' if self.runs == 1 else 's'}",
            f"{self.member_steps:,} optimizer steps in all",
        ]
        if self.flops is not None:
            parts.append(f"{self.flops:.2g} FLOPs")
        if self.seconds is not None:
            parts.append(f"about {_duration(self.seconds)} on this machine")
        # The models of a script of one's own are not known.
        if self.memory:
            megabytes = f"{self.memory / 2**20:,.0f} MB"
            parts.append(f"{megabytes} of parameters, gradients and optimizer state")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Cost:
        """Return the cost that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a cost written by Cost.to_json"):
            return cls(**parsed(data))


def estimate(study: Study, runs: Sequence[Run]) -> float:
    """Return the seconds that training these runs will take on this machine, at most.

    A few steps of each shape are timed, without compiling and in one process.

    Raises:
        MutransferError: the study trains in a function of its own, which cannot be timed.
    """
    if study.train is not None:
        raise MutransferError(
            "the study trains in a function of its own, whose time cannot be estimated: run it, "
            "and its progress says how long it will take"
        )
    models = Models(study)
    measured = [(each, choose_way(models, each)) for each in shapes(study, runs)]
    return sum(seconds(study, each, way) for each, way in measured)


def cost(study: Study, runs: Sequence[Run]) -> Cost:
    """Return what training these runs will cost; nothing of it enters a record.

    Args:
        study: The study.
        runs: Some of its runs, such as `missing(study, out)`.
    """
    models = Models(study)
    steps = sum(study.length(run) for run in runs)
    if study.train is not None:
        most = max((models.entries(run) for run in runs), default=0) if study.build else 0
        return Cost(runs=len(runs), member_steps=steps, flops=None, seconds=None, memory=16 * most)
    pieces = shapes(study, runs)
    ways = [choose_way(models, piece) for piece in pieces]
    stacks = [
        min(len(piece.runs), way.program.slots or 1) * models.entries(piece.runs[0])
        for way, piece in zip(ways, pieces, strict=True)
    ]
    return Cost(
        runs=len(runs),
        member_steps=steps,
        flops=sum(flops(models, piece.runs[0]) * len(piece.runs) for piece in pieces),
        seconds=sum(seconds(study, p, way) for p, way in zip(pieces, ways, strict=True)),
        # Parameter, gradient and two moments of four bytes each.
        memory=16 * max(stacks, default=0),
    )


def seconds(study: Study, shape: Shape, way: Way) -> float:
    """Return the time of training the runs of a shape in a measured way."""
    return way.total(len(shape.runs), study.length(shape.runs[0]), evaluations(study, shape.size))


def flops(models: Models, run: Run) -> float:
    """Return the operations of a run; a backward pass costs two forward ones."""
    study = models.study
    inputs, _ = study.task_of(run).feed(run.seed, 1, study.batch_of(run))[0]
    model = models.fresh(run).eval()
    # Norms of a batch refuse one example.
    rows = min(2, study.batch_of(run))
    # Rows that are taken by number are a copy, which a forward pass may change in place.
    few = placed(take(inputs, torch.arange(rows)), inputs_like(model))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        called(model, few)
    return 3.0 * int(counter.get_total_flops()) / rows * study.batch_of(run) * study.length(run)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
