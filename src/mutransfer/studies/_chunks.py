"""Chunks: runs of one shape that one program trains and the record gets at once."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..core import Size
from ..training import Judge, Member, Program, Recipe, Trained, Watch, even, fitting, train
from ._models import Models
from ._recipes import recipe
from ._rules import trained_data
from ._run import Run
from ._shapes import Shape
from ._store import Row
from ._study import Study
from ._values import as_recorded

_LOOPED = 8
"""Runs that a compiled loop trains between two writes of the record."""

_FEWEST = 6
"""Runs below which a loop is quicker than a stack on a CPU; on others nobody measured."""

_CURVE_POINTS = 50
_FINAL_STEPS = 20


class Chunk:
    """Runs of one shape that train as one program.

    Args:
        models: The models of the study.
        runs: The runs.
        program: The program.
        device: Where it trains; by default where the models are.
    """

    def __init__(
        self, models: Models, runs: Sequence[Run], program: Program, device: str | None = None
    ) -> None:
        self.models, self.runs, self.program, self.device = models, runs, program, device
        self.study = models.study

    @property
    def size(self) -> Size:
        """Size of the runs."""
        return self.runs[0].size

    @property
    def steps(self) -> int:
        """Number of optimizer steps of each run."""
        return self.study.length(self.runs[0])

    def rows(self, watch: Watch | None = None, judge: Judge | None = None) -> list[Row]:
        """Train the runs, and return the rows of those that are through.

        Args:
            watch: Receives progress; where it raises `Interrupted`, some are not through.
            judge: Names runs that are not worth going on.
        """
        start = time.monotonic()
        members, shared = members_of(self.models, self.runs, self.device)
        try:
            # What a model itself draws, such as dropout, is drawn alike every time.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.study.run_id(self.runs[0])[:15], 16))
                trained = train(members, shared, watch, program=self.program, judge=judge)
        finally:
            self.models.trim()
        # Runs that train together share the time.
        seconds = (time.monotonic() - start) / len(self.runs)
        return [
            {
                "id": self.study.run_id(run),
                **named_row(self.study, run),
                **_ended(trained, number),
                "seconds": seconds,
            }
            for number, run in enumerate(self.runs)
            if number not in trained.unfinished
        ]


def members_of(
    models: Models, runs: Sequence[Run], device: str | None = None
) -> tuple[list[Member], Recipe]:
    """Return members of one shape with their own recipes, and the recipe of the first."""
    recipes = [replace(recipe(models.study, run), device=device) for run in runs]
    members = zip(models.members(runs), recipes, strict=True)
    return [replace(member, recipe=own) for member, own in members], recipes[0]


def chunks(
    models: Models,
    shape: Shape,
    program: Program,
    device: str | None = None,
    *,
    room: int = 1,
    processes: int = 1,
) -> list[Chunk]:
    """Return the runs of a shape in pieces.

    How they are cut depends on the runs and the program alone, so that a sweep that is taken up
    again trains the same pieces.

    Args:
        models: The models of the study.
        shape: The runs.
        program: The program that trains them.
        device: Where it trains.
        room: Runs of a piece for every slot: where some are stopped early, others follow.
        processes: Processes that share the pieces.
    """
    runs = len(shape.runs)
    slots = program.slots or runs
    if program.compiled:
        # A step is recorded anew for each piece, whose models are all in memory.
        looped = min(_LOOPED, fitting(models.entries(shape.runs[0])))
        room = max(room, looped if slots == 1 else 1)
    size = even(runs, slots * room)
    if slots == 1:
        pieces = math.ceil(math.ceil(runs / size) / processes) * processes
        size = math.ceil(runs / pieces)
    elif program.compiled:
        # Pieces of a compiled program fill its slots.
        size = slots * room
    starts = range(0, runs, size)
    cut = [shape.runs[start : start + size] for start in starts]
    on_cpu = torch.device(device or "cpu").type == "cpu"
    few = replace(program, slots=1) if on_cpu and not program.compiled else program
    return [Chunk(models, piece, few if len(piece) < _FEWEST else program, device) for piece in cut]


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


def _ended(trained: Trained, number: int) -> Row:
    """Return status, losses and metrics of a run."""
    stopped = trained.stopped[number]
    if stopped is None:
        losses, end = trained.losses[number], trained.diverged[number]
        return {**outcome(losses, end), **_evaluated(trained, number)}
    # The losses of a part of a run are not comparable with those of whole ones.
    row = outcome(trained.losses[number, :stopped], None)
    return row | {"status": "stopped", "stopped_at": stopped, "loss": None, "final": None}


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
