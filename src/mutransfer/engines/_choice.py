"""Engines by name."""

from __future__ import annotations

from ..core import MutransferError
from ._here import Here
from ._own import Own
from ._processes import Processes
from ._protocols import Engine, Executor, whole

NAMES = ("here", "processes")


def executor_of(engine: str | Engine | Executor, workers: int | None = None) -> Executor:
    """Return an engine as a sweep uses it.

    Args:
        engine: Its name, "here" or "processes"; an executor; or any object with
            `submit(function, *arguments)` that returns futures.
        workers: Jobs that run at once; by default as many as the engine can.

    Raises:
        MutransferError: there is no such engine, or it takes no number of workers.
    """
    if workers is not None:
        whole("workers", workers)
    if engine == "processes":
        return Processes(workers)
    if isinstance(engine, str) and engine != "here":
        raise MutransferError(
            f"there is no engine {engine!r}; give one of {', '.join(NAMES)}, or an object with "
            "submit(function, *arguments)"
        )
    if workers is not None:
        name = repr(engine) if isinstance(engine, str) else type(engine).__name__
        raise MutransferError(
            f"the engine {name} takes no number of workers; leave it out, or use 'processes'"
        )
    if isinstance(engine, str):
        return Here()
    if isinstance(engine, Executor):
        return engine
    if not isinstance(engine, Engine) or isinstance(engine, type):
        raise MutransferError(
            f"an engine is one of {', '.join(NAMES)}, or an object with "
            f"submit(function, *arguments); this is {engine!r}"
        )
    return Own(engine)
