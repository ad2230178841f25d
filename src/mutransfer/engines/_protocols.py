"""Protocols of engines: resources, futures, and the two forms of `submit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..core import MutransferError


class Future(Protocol):
    """Result of a job that may still run, as concurrent.futures and Dask have it."""

    def done(self) -> bool:
        """Return True once the job has a result, or was lost."""

    def result(self) -> Any:
        """Return the value of the job's function; raise if its worker was lost."""

    def cancel(self) -> Any:
        """Ask that a job that has not begun is left out."""


@runtime_checkable
class Engine(Protocol):
    """Object that runs functions: a pool of concurrent.futures, a client of Dask."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future:
        """Begin a job."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Needs of a job.

    Attributes:
        cpus: Number of cores.
        gpus: Number of GPUs.
        memory: Bytes of its whole process; None where unknown.

    Raises:
        MutransferError: a number is not whole, or too small.
    """

    cpus: int = 1
    gpus: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("gpus", 0), ("memory", 1)):
            value = getattr(self, name)
            if not (value is None and name == "memory"):
                whole(f"the number of a job's {name}", value, least)


@runtime_checkable
class Executor(Protocol):
    """An engine as a sweep uses it.

    Attributes:
        name: Its name in the record.
        workers: Jobs that run at once; None where the engine has a queue of its own.
        shortest: Seconds that a job should take at least, as each costs some to begin.
    """

    name: str
    workers: int | None
    shortest: float

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Begin a job.

        Args:
            resources: What it needs.
            function: The function; it can be pickled, as its arguments and its value can.
            arguments: Its arguments.

        Raises:
            MutransferError: the engine cannot take it.
        """

    def discard(self, future: Future) -> None:
        """Give a job up and end its worker, hung or not; other jobs go on."""

    def close(self, *, at_once: bool = False) -> None:
        """Wait for the jobs that run, or give them up; a later job begins anew.

        Args:
            at_once: True to give them up.
        """


def whole(what: str, value: object, least: int = 1) -> int:
    """Return a whole number of at least so much.

    Raises:
        MutransferError: it is another value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MutransferError(f"{what} is {value!r}; give a whole number of at least {least}")
    return value
