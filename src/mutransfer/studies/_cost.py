"""The cost of a study before it starts: runs, steps, FLOPs, time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..core import Result, parsed, parsing, plain
from ..tasks import take
from ..training import called
from ._chunks import Chunk, chunks
from ._models import Models
from ._run import Run
from ._study import Study


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
        parts = [f"{self.runs} runs", f"{self.member_steps:,} optimizer steps in all"]
        if self.flops is not None:
            parts.append(f"{self.flops:.2g} FLOPs")
        if self.seconds is not None:
            parts.append(f"about {_duration(self.seconds)} on this machine")
        parts.append(f"{self.memory / 2**20:,.0f} MB of parameters, gradients and optimizer state")
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
    pieces = chunks(models, runs)
    stacks = [len(piece.runs) * models.entries(piece.runs[0]) for piece in pieces]
    return Cost(
        runs=len(runs),
        member_steps=steps,
        flops=sum(_flops(models, piece) for piece in pieces),
        seconds=sum(piece.seconds() for piece in pieces),
        # Parameter, gradient and two moments of four bytes each.
        memory=16 * max(stacks, default=0),
    )


def _flops(models: Models, piece: Chunk) -> float:
    """Return the operations of all steps; a backward pass costs two forward ones."""
    study, run = models.study, piece.runs[0]
    inputs, _ = study.task_of(run).feed(run.seed, 1, study.batch_of(run))[0]
    examples = study.batch_of(run)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # In evaluation mode, as norms over a batch refuse a batch of one.
        called(models.fresh(run).eval(), take(inputs, slice(0, 1)))
    return 3.0 * int(counter.get_total_flops()) * examples * piece.steps * len(piece.runs)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
