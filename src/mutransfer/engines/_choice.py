"""Engines by name."""

from __future__ import annotations

from pathlib import Path

from ..core import MutransferError
from ._here import Here
from ._own import Own
from ._processes import Processes
from ._protocols import Engine, Executor, whole
from ._ray import Ray
from ._submitit import Submitit

NAMES = "here, processes, ray, ray:ADDRESS, submitit, submitit:local"
"""Names that `executor_of` knows, in words."""

NAMED = ("here", "processes", "ray", "submitit")
"""What stands before the colon in these names."""


def executor_of(
    engine: str | Engine | Executor,
    workers: int | None = None,
    *,
    folder: str | Path = "mutransfer-jobs",
) -> Executor:
    """Return an engine as a sweep uses it.

    Args:
        engine: Its name: "here", "processes", "ray", "ray:ADDRESS", "submitit" or
            "submitit:local"; an executor; or any object with `submit(function, *arguments)` that
            returns futures.
        workers: Jobs that run at once; by default as many as the engine can.
        folder: Folder of submitit's files.

    Raises:
        MutransferError: there is no such engine, or it takes no number of workers.
    """
    if workers is not None:
        whole("workers", workers)
    if isinstance(engine, str):
        return _named(engine, workers, folder)
    if not isinstance(engine, Engine) or isinstance(engine, type):
        raise MutransferError(
            f"an engine is one of {NAMES}, or an object with submit(function, *arguments); this "
            f"is {engine!r}"
        )
    if workers is not None:
        raise MutransferError(
            f"the engine {type(engine).__name__} has a number of workers of its own: leave "
            "'workers' out"
        )
    return engine if isinstance(engine, Executor) else Own(engine)


def _named(engine: str, workers: int | None, folder: str | Path) -> Executor:
    kind, colon, place = engine.partition(":")
    if engine == "here":
        if workers is not None:
            raise MutransferError("the engine 'here' has no workers: use 'processes'")
        return Here()
    if engine == "processes":
        return Processes(workers)
    if kind == "ray":
        return Ray(place if colon else None, workers)
    if kind == "submitit":
        return Submitit(folder, place if colon else None, workers)
    raise MutransferError(
        f"there is no engine {engine!r}; give one of {NAMES}, or an object with "
        "submit(function, *arguments)"
    )
