"""Jobs of an engine that have not ended, as far as it has looked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_FEW = 64
"""Jobs among which nobody looks for those that have ended."""


class OpenJobs(Generic[T]):
    """Jobs that may still run; those that have ended are dropped now and then.

    A look is at all jobs: with one for each new job, a queue of many would cost their square.

    Args:
        is_over: Returns True once a job has ended.
    """

    def __init__(self, is_over: Callable[[T], bool]) -> None:
        self._is_over = is_over
        self._jobs: list[T] = []
        self._most = _FEW

    def add(self, job: T) -> None:
        """Add a job that has begun."""
        if len(self._jobs) >= self._most:
            self._jobs = [each for each in self._jobs if not self._is_over(each)]
            self._most = max(_FEW, 2 * len(self._jobs))
        self._jobs.append(job)

    def clear(self) -> None:
        """Forget all jobs."""
        self._jobs = []

    def __iter__(self) -> Iterator[T]:
        return iter(self._jobs)
