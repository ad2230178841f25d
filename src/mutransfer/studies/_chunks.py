"""Chunks: runs of one size that train as one program."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import Size
from ..statistics import diverged_at
from ..training import Watch, train
from ._models import Models, recipe
from ._run import Run
from ._store import Row

_LARGEST_STACK = 1 << 27
"""Most entries of all stacked parameters of one chunk.

Gradients and optimizer state take three times as many again.
"""

_CURVE_POINTS = 50
_FINAL_STEPS = 20


class Chunk:
    """Runs of one size that train as one program.

    Args:
        models: The models of the study.
        runs: The runs.
    """

    def __init__(self, models: Models, runs: Sequence[Run]) -> None:
        self.models, self.runs = models, runs
        self.study = models.study

    @property
    def size(self) -> Size:
        """Size of the runs."""
        return self.runs[0].size

    def seconds(self) -> float:
        """Return how long training will take, from three steps after a first one."""
        ticks: list[float] = []
        self._train(min(4, self.study.steps), lambda _: ticks.append(time.monotonic()))
        return (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1) * self.study.steps

    def rows(self, watch: Watch | None) -> list[Row]:
        """Train the runs, and return their rows of the record."""
        losses = self._train(self.study.steps, watch)
        ends = diverged_at(losses.numpy())
        return [
            {"id": self.study.run_id(run), **run.row(), **_outcome(curve, end)}
            for run, curve, end in zip(self.runs, losses, ends, strict=True)
        ]

    def _train(self, steps: int, watch: Watch | None) -> Float[Tensor, "member steps"]:
        members = self.models.members(self.runs)
        try:
            # What a model itself draws, such as dropout, is drawn alike every time.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.study.run_id(self.runs[0])[:15], 16))
                return train(members, recipe(self.study, steps), watch).losses
        finally:
            self.models.trim()


def chunks(models: Models, runs: Iterable[Run]) -> list[Chunk]:
    """Return runs by size, in pieces that fit in memory.

    How they are cut depends on the study alone, so that a sweep that is taken up again trains the
    same programs.
    """
    pieces: list[Chunk] = []
    for size, group in groupby(runs, lambda run: run.size):
        listed, most = list(group), max(1, _LARGEST_STACK // max(1, models.entries(size)))
        starts = range(0, len(listed), most)
        pieces += [Chunk(models, listed[start : start + most]) for start in starts]
    return pieces


def _outcome(losses: Float[Tensor, " steps"], end: int | None) -> Row:
    """Return the losses of a row: means and curve; None where training diverged."""
    stride = max(1, len(losses) // _CURVE_POINTS)
    trained = losses[:end] if end is not None else losses
    curve = [float(part.mean()) for part in torch.split(trained, stride) if len(part)]
    return {
        "loss": None if end is not None else float(losses.mean()),
        "final": None if end is not None else float(losses[-_FINAL_STEPS:].mean()),
        "diverged_at": end,
        "curve": curve,
    }
