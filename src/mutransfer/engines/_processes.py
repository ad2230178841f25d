"""One-thread processes of this machine; the death of one costs one job.

Functions and classes of a script or a notebook travel by value, as cloudpickle sends them, so that
workers do not run the main module again.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

from ..core import MutransferError, needs
from ._child import Child
from ._job import THREADS, opened, packed
from ._protocols import Future, Resources, whole

IDLE = 300.0
"""Seconds after which a worker without a job ends; importing torch again takes some."""

_WHAT, _EXTRA = "training in several processes", "processes"


class Processes:
    """One-thread processes, started when there are jobs and kept for the next sweep.

    Args:
        workers: Jobs that run at once; by default as many as this process has cores.

    Attributes:
        name: "processes".
        workers: Jobs that run at once.
        shortest: Seconds that a job should take at least.

    Raises:
        MutransferError: the number is below 1, or cloudpickle is not installed.
    """

    name = "processes"
    shortest = 0.5

    def __init__(self, workers: int | None = None) -> None:
        with needs(_WHAT, "cloudpickle", _EXTRA):
            import cloudpickle as cloudpickle
        self.workers: int | None = cores() if workers is None else whole("workers", workers)
        self._slots = threading.BoundedSemaphore(self.workers)
        self._lock = threading.Lock()
        self._workers: dict[Future, Worker | None] = {}

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Begin a job; it waits while all workers have one.

        Raises:
            MutransferError: it cannot be pickled.
        """
        job = packed(_WHAT, _EXTRA, 1, function, arguments)
        future: futures.Future[Any] = futures.Future()
        with self._lock:
            self._workers[future] = None
        threading.Thread(target=self._run, args=(future, job), daemon=True).start()
        return future

    def discard(self, future: Future) -> None:
        """Kill the worker of a job, also a stopped one; leave out a job that waits."""
        with self._lock:
            worker = self._workers.get(future)
            if worker is not None:
                worker.child.kill()
            else:
                future.cancel()

    def close(self, *, at_once: bool = False) -> None:
        """Wait for the jobs, or kill their workers and leave out what waits."""
        with self._lock:
            jobs: list[Any] = list(self._workers)
        if at_once:
            # Those that wait first, as a worker that is free takes the next.
            for job in jobs:
                job.cancel()
            for job in jobs:
                self.discard(job)
        futures.wait(jobs)

    def _run(self, future: futures.Future[Any], job: bytes) -> None:
        with self._slots:
            value = error = None
            try:
                with self._lock:
                    if not future.set_running_or_notify_cancel():
                        return
                    worker = self._workers[future] = _shelf().take()
                value = opened(worker.call(job))
            except BaseException as caught:
                error = caught
            finally:
                with self._lock:
                    used = self._workers.pop(future)
                if used is not None:
                    _shelf().keep(used)
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


class Worker:
    """Process that runs one job at a time."""

    def __init__(self) -> None:
        self.child = Child("_serve", dict.fromkeys(THREADS, "1"))
        self.timer: threading.Timer | None = None

    def call(self, job: bytes) -> bytes:
        """Return the outcome of a job.

        Raises:
            MutransferError: the process was ended from outside.
        """
        try:
            self.child.channels.send(job)
            return self.child.channels.receive()
        except (EOFError, OSError, ValueError):
            self.child.kill()
            raise MutransferError(
                f"a worker process was ended from outside ({self.child.fate()}), as where memory "
                "is short"
            ) from None

    def end(self) -> None:
        """End the process."""
        if self.timer is not None:
            self.timer.cancel()
        self.child.end()


class Shelf:
    """Workers of a process that have no job, the last used on top."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._workers: set[Worker] = set()

    def take(self) -> Worker:
        """Return a worker, a new one where none is free."""
        with self._lock:
            while self._free:
                worker = self._free.pop()
                if worker.child.is_alive():
                    assert worker.timer is not None
                    worker.timer.cancel()
                    return worker
                self._end(worker)
            worker = Worker()
            self._workers.add(worker)
            return worker

    def keep(self, worker: Worker) -> None:
        """Put a worker back, for a while."""
        with self._lock:
            if worker.child.is_alive():
                worker.timer = threading.Timer(IDLE, self._drop, (worker,))
                worker.timer.daemon = True
                worker.timer.start()
                self._free.append(worker)
            else:
                self._end(worker)

    def clear(self) -> None:
        """End all workers, also those that have a job."""
        with self._lock:
            self._free.clear()
            for worker in list(self._workers):
                self._end(worker)

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._free:
                self._free.remove(worker)
                self._end(worker)

    def _end(self, worker: Worker) -> None:
        self._workers.discard(worker)
        worker.end()


_SHELVES: dict[int, Shelf] = {}
"""Shelf of each process: a fork has its own, and leaves the workers of its parent alone."""


def _shelf() -> Shelf:
    return _SHELVES.setdefault(os.getpid(), Shelf())


@atexit.register
def _leave() -> None:
    """End the workers of this process with it, rather than a second later."""
    shelf = _SHELVES.get(os.getpid())
    if shelf is not None:
        shelf.clear()


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
