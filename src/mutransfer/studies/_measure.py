"""Measurements: the choice of a program, and its pace in other processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..training import Candidate, Choice, choose, fitting, measured, shortened
from ._chunks import members_of
from ._models import Models
from ._run import Run
from ._work import ALONE, models_of

TRIED = 64
"""Most runs that a measurement trains for a few steps."""


def choice(
    models: Models, runs: Sequence[Run], device: str | None, expected: int, *, thorough: bool = True
) -> Choice:
    """Return the quickest program for runs of a shape, measured over a few steps.

    Args:
        models: The models of the study.
        runs: The runs.
        device: Where they train.
        expected: Runs of this shape that will follow, these included.
        thorough: False to measure one program alone.

    Raises:
        MutransferError: the model fails.
    """
    members, shared = members_of(models, spread(runs, fitting(models.entries(runs[0]))), device)
    try:
        return choose(members, shared, max(expected, len(runs)), thorough=thorough)
    finally:
        models.trim()


def choice_apart(
    study: bytes, path: tuple[str, ...], runs: Sequence[Run], device: str | None, expected: int
) -> tuple[Choice, int | None] | None:
    """Return the choice of a worker, and its peak memory in bytes; None if it fails."""
    try:
        with ALONE:
            found = choice(models_of(study, path), runs, device, expected)
    except Exception:
        # The same runs fail when they are trained, with rows that say why.
        return None
    return found, _peak()


def _peak() -> int | None:
    """Return the peak of this process's memory in bytes; None on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def pace_apart(
    study: bytes, path: tuple[str, ...], runs: Sequence[Run], candidate: Candidate
) -> Candidate:
    """Return a program with its pace in a worker.

    Args:
        study: What `pickled` made of the study.
        path: Where the coordinator finds its modules.
        runs: Runs to train for a few steps.
        candidate: The program, with its pace elsewhere.
    """
    models, program = models_of(study, path), candidate.program
    members, shared = members_of(models, runs[: program.slots])
    try:
        few = shortened(members, shared, program.slots, candidate.seconds)
        return measured(few, shared, program)
    finally:
        models.trim()


def ready() -> None:
    """Do nothing: the worker is there once this returns."""


def spread(runs: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of the runs, from all rules and rates, for a measurement."""
    count = min(most, TRIED)
    stride = max(1, len(runs) // count)
    return list(runs[::stride][:count])
