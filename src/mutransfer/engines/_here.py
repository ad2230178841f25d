"""This process as an engine: a job is done when it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any

from ._protocols import Future, Resources


class Here:
    """This process alone.

    Attributes:
        name: "here".
        workers: 1.
        shortest: 0, as a job costs nothing to begin.
    """

    name = "here"
    workers: int | None = 1
    shortest = 0.0

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Run a job now; Ctrl-C goes through, every other failure is the future's."""
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def discard(self, future: Future) -> None:
        """Do nothing: every job is done."""

    def close(self, *, at_once: bool = False) -> None:
        """Do nothing: no job runs."""
