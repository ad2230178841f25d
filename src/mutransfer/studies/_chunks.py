"""Chunks: runs of one size and one recipe that train as one program."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import FrozenDict, Size
from ..statistics import diverged_at
from ..training import Trained, Watch, train
from ._hyperparameters import sets
from ._models import Models
from ._recipes import recipe
from ._rules import trained_data
from ._run import Run
from ._store import Row
from ._study import Study
from ._values import as_recorded

_LARGEST_STACK = 1 << 27
"""Most entries of all stacked parameters of one chunk.

Gradients and optimizer state take three times as many again.
"""

_CURVE_POINTS = 50
_FINAL_STEPS = 20
_TIMED_STEPS = 4


class Chunk:
    """Runs of one size and one recipe that train as one program.

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

    @property
    def steps(self) -> int:
        """Number of optimizer steps of each run."""
        return self.study.length(self.runs[0])

    def seconds(self) -> float:
        """Return how long training will take, from three steps after a first one."""
        ticks: list[tuple[float, int]] = []
        steps = min(_TIMED_STEPS, self.steps)
        self._train(steps, lambda count: ticks.append((time.monotonic(), count)))
        # Of one member: models that cannot be stacked train one after the other.
        gaps = [(end - start) / count for (start, _), (end, count) in pairwise(ticks)]
        *plain, last = gaps or [0.0]
        step = median(plain or [last])
        # The last step ends with an evaluation if there is validation data.
        evaluations = len(recipe(self.study, self.runs[0]).evaluations())
        return float(len(self.runs)) * (self.steps * step + evaluations * max(0.0, last - step))

    def rows(self, watch: Watch | None) -> list[Row]:
        """Train the runs, and return their rows of the record."""
        start = time.monotonic()
        trained = self._train(self.steps, watch)
        # Runs that train together share the time.
        seconds = (time.monotonic() - start) / len(self.runs)
        ends = diverged_at(trained.losses.numpy())
        return [
            {
                "id": self.study.run_id(run),
                **named_row(self.study, run),
                **outcome(trained.losses[number], ends[number]),
                **_evaluated(trained, number),
                "seconds": seconds,
            }
            for number, run in enumerate(self.runs)
        ]

    def _train(self, steps: int, watch: Watch | None) -> Trained:
        members = self.models.members(self.runs)
        try:
            # What a model itself draws, such as dropout, is drawn alike every time.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.study.run_id(self.runs[0])[:15], 16))
                return train(members, recipe(self.study, self.runs[0], steps), watch)
        finally:
            self.models.trim()


def chunks(models: Models, runs: Iterable[Run]) -> list[Chunk]:
    """Return runs by size and recipe, in pieces that fit in memory.

    How they are cut depends on the study alone, so that a sweep that is taken up again trains the
    same programs.
    """
    pieces: list[Chunk] = []
    for _, group in groupby(runs, lambda run: run.size):
        programs: dict[Mapping[str, Any], list[Run]] = {}
        for run in group:
            programs.setdefault(_program(models, run), []).append(run)
        for alike in programs.values():
            most = max(1, _LARGEST_STACK // max(1, models.entries(alike[0])))
            starts = range(0, len(alike), most)
            pieces += [Chunk(models, alike[start : start + most]) for start in starts]
    return pieces


def _program(models: Models, run: Run) -> Mapping[str, Any]:
    """Return the hyperparameters that all runs of one program have to share."""
    settings = models.study.settings(run)
    return FrozenDict({n: v for n, v in settings.items() if sets(n) not in {"table", "multiplier"}})


def named_row(study: Study, run: Run) -> Row:
    """Return what was run as the flat row of a record, functions by name.

    Steps, batch and fixed hyperparameters are in it, too: another study may sweep them.
    """
    training = {"steps": study.length(run), "batch": study.batch_of(run)}
    row = {**run.row(), **training, **study.settings(run)}
    data = rule_data(study, run.rule)
    custom = {"rule_data": data} if data else {}
    return {name: as_recorded(value) for name, value in row.items()} | custom


def rule_data(study: Study, name: str) -> str:
    """Return a hash of what a custom rule trains, by which its name is known again."""
    rule = study.rule(name)
    if isinstance(rule, str):
        return ""
    text = json.dumps(trained_data(rule), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def outcome(losses: Float[Tensor, " steps"], end: int | None) -> Row:
    """Return status, mean losses and curve of a row; None where training diverged."""
    stride = max(1, len(losses) // _CURVE_POINTS)
    trained = losses[:end] if end is not None else losses
    curve = [float(part.mean()) for part in torch.split(trained, stride) if len(part)]
    return {
        "status": "finished" if end is None else "diverged",
        "loss": None if end is not None else float(losses.mean()),
        "final": None if end is not None else float(losses[-_FINAL_STEPS:].mean()),
        "diverged_at": end,
        "curve": curve,
    }


def _evaluated(trained: Trained, number: int) -> Row:
    """Return the last validation loss and metrics of a run, and their curves."""
    if not len(trained.evaluations):
        return {}
    values = {"validation": trained.validation} | dict(trained.metrics)
    last = {name: finite(float(each[number, -1])) for name, each in values.items()}
    curves = {
        f"{name}_curve": [finite(float(value)) for value in each[number]]
        for name, each in values.items()
    }
    return {**last, "evaluated_at": [int(step) for step in trained.evaluations], **curves}


def finite(value: float) -> float | None:
    """Return a number for the record, which has None where it is not finite."""
    return value if math.isfinite(value) else None
