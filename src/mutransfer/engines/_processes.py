"""One-thread processes of this machine; the death of one costs one job.

Functions and classes of a script or a notebook travel by value, as cloudpickle sends them, so that
workers do not run the main module again.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from typing import IO, Any

from ..core import MutransferError, needs
from ._frames import read, write
from ._protocols import Future, Resources, whole

IDLE = 300.0
"""Seconds after which a worker without a job ends; the first import of torch takes some."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_PATIENCE = 5.0
"""Seconds that a killed process is waited for, as one in a broken file system may stay."""


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
        with needs("training in several processes", "cloudpickle", "processes"):
            import cloudpickle
        self._pickled = cloudpickle.dumps
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
        try:
            job = self._pickled((function, arguments))
        except Exception as error:
            raise MutransferError(
                f"a job cannot be sent to other processes ({type(error).__name__}: {error}): "
                "give functions and values that can be pickled"
            ) from error
        # Workers of an earlier sweep find modules and files where this one does.
        message = pickle.dumps((_search_path(), os.getcwd(), job))
        future: futures.Future[Any] = futures.Future()
        with self._lock:
            self._workers[future] = None
        threading.Thread(target=self._run, args=(future, message), daemon=True).start()
        return future

    def discard(self, future: Future) -> None:
        """Kill the worker of a job, also one that is stopped; a job that waits is left out."""
        with self._lock:
            worker = self._workers.get(future)
            if worker is not None:
                worker.kill()
            else:
                future.cancel()

    def close(self, *, at_once: bool = False) -> None:
        """Wait for the jobs that run; or kill their workers, and leave the waiting ones out."""
        with self._lock:
            jobs: list[Any] = list(self._workers)
        if at_once:
            # Those that wait first, as a worker that is free takes the next.
            for job in jobs:
                job.cancel()
            for job in jobs:
                self.discard(job)
        futures.wait(jobs)

    def _run(self, future: futures.Future[Any], message: bytes) -> None:
        with self._slots:
            try:
                with self._lock:
                    if not future.set_running_or_notify_cancel():
                        return
                    worker = self._workers[future] = _shelf().take()
                is_value, value = pickle.loads(worker.call(message))
            except BaseException as error:
                is_value, value = False, error
            finally:
                with self._lock:
                    used = self._workers.pop(future)
                if used is not None:
                    _shelf().keep(used)
        if is_value:
            future.set_result(value)
        else:
            future.set_exception(value)


class Worker:
    """A process that runs one job at a time."""

    def __init__(self) -> None:
        # The main module of a worker is this line, so that it can use multiprocessing itself.
        line = (
            f"import sys; sys.path[:] = {_search_path()!r}; "
            f"from mutransfer.engines._serve import serve; serve({os.getpid()})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._jobs: IO[bytes] = self._process.stdin
        self._outcomes: IO[bytes] = self._process.stdout
        self.timer: threading.Timer | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return True while the process is there."""
        return self._process.poll() is None

    def call(self, message: bytes) -> bytes:
        """Return the outcome of a job.

        Raises:
            MutransferError: the process was ended from outside.
        """
        try:
            write(self._jobs, message)
            return read(self._outcomes)
        except (EOFError, OSError, ValueError):
            self.kill()
            raise MutransferError(self._obituary()) from None

    def kill(self) -> None:
        """Kill the process, also one that is stopped."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)

    def end(self) -> None:
        """Kill the process and close its channels."""
        self.kill()
        for stream in (self._jobs, self._outcomes):
            with suppress(OSError):
                stream.close()

    def _obituary(self) -> str:
        code = self._process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"a worker process was ended from outside ({how}), as where memory is short"


class Shelf:
    """The workers of a process that have no job, the last used on top."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Worker] = []
        self._workers: set[Worker] = set()

    def take(self) -> Worker:
        """Return a worker, a new one where none is free."""
        with self._lock:
            while self._free:
                worker = self._free.pop()
                assert worker.timer is not None
                worker.timer.cancel()
                if worker.is_alive():
                    return worker
                self._end(worker)
            worker = Worker()
            self._workers.add(worker)
            return worker

    def keep(self, worker: Worker) -> None:
        """Put a worker back, for a while."""
        with self._lock:
            if not worker.is_alive():
                self._end(worker)
                return
            worker.timer = threading.Timer(IDLE, self._drop, (worker,))
            worker.timer.daemon = True
            worker.timer.start()
            self._free.append(worker)

    def clear(self) -> None:
        """End all workers."""
        with self._lock:
            self._free.clear()
            for worker in list(self._workers):
                if worker.timer is not None:
                    worker.timer.cancel()
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
"""The shelf of each process: a fork has its own, and leaves the workers of its parent alone."""


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


def _search_path() -> list[str]:
    """Return where modules are found; the current folder by its name."""
    return [folder or os.getcwd() for folder in sys.path]
