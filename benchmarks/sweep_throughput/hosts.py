"""Processes that hold the sides, so that all of them take turns within one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from .sides import Side

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that set the threads of a process when it starts."""

_PATIENCE = 600
"""Seconds that a process waits for the others before a round."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The pace of a side.

    Attributes:
        rate: Member-steps a second, all processes together; the median of the rounds.
        start: Seconds until it could be timed: models, stacking, compiling, a first round.
        rounds: The rate of every round.
    """

    rate: float
    start: float
    rounds: tuple[float, ...]


class Hosts:
    """Processes that train side by side, each with some threads.

    Args:
        processes: How many.
        threads: Threads of each; None for torch's default.
    """

    def __init__(self, processes: int, threads: int | None = None) -> None:
        context = get_context("spawn")
        # Kept, as it ends with its last name in this process.
        self._barrier = context.Barrier(processes)
        self._pipes, self._processes = [], []
        with _environment({} if threads is None else dict.fromkeys(THREADS, str(threads))):
            for _ in range(processes):
                mine, other = context.Pipe()
                process = context.Process(target=_serve, args=(other, self._barrier, threads))
                process.start()
                self._pipes.append(mine)
                self._processes.append(process)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *error: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            with suppress(OSError):
                pipe.send(None)
            process.join()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns in the first process."""
        self._pipes[0].send(("call", function, arguments))
        return _received(self._pipes[0])

    def prepare(self, name: str, make: Callable[..., Side], *arguments: Any) -> float:
        """Make a side in all processes, train one round, and return the seconds."""
        start = time.perf_counter()
        stride = len(self._pipes)
        for first, pipe in enumerate(self._pipes):
            pipe.send(("prepare", name, make, (*arguments, first, stride)))
        for pipe in self._pipes:
            _received(pipe)
        return time.perf_counter() - start

    def rate(self, name: str) -> float:
        """Return the member-steps a second of one round of a side, all processes together."""
        for pipe in self._pipes:
            pipe.send(("run", name))
        results = [_received(pipe) for pipe in self._pipes]
        return sum(steps / seconds for seconds, steps in results)


def alternating(sides: Mapping[str, tuple[Hosts, float]], rounds: int) -> dict[str, Measured]:
    """Return the pace of sides that take turns.

    Args:
        sides: The hosts of each side, which have prepared it, with the seconds that took.
        rounds: How many rounds; every other one goes backwards.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            rates[name].append(sides[name][0].rate(name))
    return {
        name: Measured(rate=statistics.median(each), start=sides[name][1], rounds=tuple(each))
        for name, each in rates.items()
    }


def _received(pipe: Any) -> Any:
    result = pipe.recv()
    if isinstance(result, Exception):
        raise result
    return result


def _serve(pipe: Any, barrier: Any, threads: int | None) -> None:
    """Do what is asked until nothing more comes."""
    if threads is not None:
        torch.set_num_threads(threads)
    sides: dict[str, Side] = {}
    while (order := pipe.recv()) is not None:
        try:
            pipe.send(_answer(order, sides, barrier))
        except Exception as error:
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _answer(order: Sequence[Any], sides: dict[str, Side], barrier: Any) -> Any:
    kind, *rest = order
    if kind == "call":
        function, arguments = rest
        return function(*arguments)
    if kind == "prepare":
        name, make, arguments = rest
        sides[name] = make(*arguments)
        return sides[name](lambda: None)
    # A process that fails must not leave the others waiting for ever.
    return sides[rest[0]](partial(barrier.wait, _PATIENCE))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for processes that start now."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
