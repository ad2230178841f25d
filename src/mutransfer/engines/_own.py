"""A user's own engine, as a sweep uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import MutransferError
from ._protocols import Engine, Future, Resources


@dataclass(frozen=True)
class Once:
    """Function that equals no other: Dask runs equal jobs once."""

    function: Callable[..., Any]
    number: int

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Own:
    """An object with `submit(function, *arguments)`; it stays open for its user.

    Args:
        engine: The object.

    Attributes:
        name: Name of its class.
        workers: None, as it has a queue of its own.
        shortest: Seconds that a job should take at least.
    """

    workers: int | None = None
    shortest = 0.5

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, type(engine).__name__
        self._futures: list[Future] = []
        self._count = 0

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Begin a job.

        Raises:
            MutransferError: the engine refuses it, or returns something that is no future.
        """
        self._count += 1
        try:
            future = self._engine.submit(Once(function, self._count), *arguments)
        except Exception as error:
            raise MutransferError(
                f"the engine {self.name} takes no job ({type(error).__name__}: {error}): start the "
                "same sweep again with a new one, what is finished is kept"
            ) from error
        missing = [each for each in ("done", "result", "cancel") if not hasattr(future, each)]
        if missing:
            raise MutransferError(
                f"the engine {self.name} returns a {type(future).__name__} from submit, which has "
                f"no {' and no '.join(missing)}: give one that returns futures"
            )
        self._futures = [each for each in self._futures if not each.done()] + [future]
        return future

    def discard(self, future: Future) -> None:
        """Cancel a job; the engine ends its worker, or waits for it."""
        future.cancel()

    def close(self, *, at_once: bool = False) -> None:
        """Cancel the jobs that have not begun, if at once; leave the engine open."""
        for future in self._futures if at_once else ():
            future.cancel()
        self._futures = []
