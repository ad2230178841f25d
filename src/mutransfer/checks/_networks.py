"""Training all networks of a check, on the CPU one a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import NamedTuple

import torch

from ..core import MutransferError, OnProgress, Progress, Size, fault
from ._network import Network, measure
from ._setup import Setup


class Job(NamedTuple):
    """A network to train."""

    setup: Setup
    size: Size
    seed: int

    @property
    def title(self) -> str:
        """Its size, along the axes that are checked."""
        return self.size.along(self.setup.axes)


class Networks(NamedTuple):
    """The networks that were measured, and notes on those that could not be."""

    measured: list[tuple[Setup, Network]]
    notes: list[str]

    def of(self, setup: Setup) -> list[Network]:
        """Return the networks of one setup."""
        return [network for other, network in self.measured if other is setup]


def measured_networks(jobs: Sequence[Job], progress: OnProgress | None) -> Networks:
    """Train and measure all networks.

    Networks of other sizes than the base may fail; they are left out with a note.

    Args:
        jobs: The networks, those of the base first.
        progress: Called after each.

    Raises:
        MutransferError: a network of the base cannot be built, planned or trained.
    """
    if not jobs:
        return Networks([], [])
    started, base = monotonic(), jobs[0].size
    networks: list[tuple[Setup, Network]] = []
    notes: dict[str, None] = {}
    for done, (job, result) in enumerate(zip(jobs, _in_turn(jobs), strict=True), 1):
        try:
            networks.append((job.setup, result()))
        # Building and training run the user's code, which may raise anything.
        except Exception as error:
            if job.size == base:
                if isinstance(error, MutransferError):
                    raise
                raise MutransferError(f"training at {job.title} failed: {fault(error)}") from error
            reason = str(error) if isinstance(error, MutransferError) else fault(error)
            notes[f"{job.title} was left out: {reason.splitlines()[0]}"] = None
        if progress is not None:
            elapsed = monotonic() - started
            progress(Progress(what=job.title, done=done, total=len(jobs), elapsed=elapsed))
    return Networks(networks, list(notes))


def _in_turn(jobs: Sequence[Job]) -> Iterator[Callable[[], Network]]:
    """Yield a function that returns each network, in order.

    Small networks use the cores better one a thread than each with many threads. Prepared models
    may talk to other processes, which wait for them in order.
    """
    threads, first = torch.get_num_threads(), jobs[0].setup
    if threads == 1 or first.prepare is not None or not first.on_cpu:
        yield from (partial(measure, *job) for job in jobs)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    try:
        for future in [pool.submit(measure, *job) for job in jobs]:
            yield future.result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
