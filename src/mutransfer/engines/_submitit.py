"""Slurm as an engine, through submitit: each job is one of the cluster's."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core import MutransferError, needs
from ._job import opened, packed, run
from ._open_jobs import OpenJobs
from ._processes import cores
from ._protocols import Future, Resources, whole

_WHAT, _EXTRA = "the engine 'submitit'", "submitit"

_TIMEOUT = 240
"""Minutes after which Slurm ends a job, unless its user says so; submitit's own limit is 5."""

_LOOK = 30.0
"""Seconds between two questions to Slurm; submitit asks every ten minutes."""

_LIST = 0.5
"""Seconds between two looks at the folder, one for all jobs."""

_LATE = 15.0
"""Seconds that a shared file system may take to show the result of a job that has ended."""

_END = 5.0
"""Seconds that a local job has to end when it is given up."""


class Submitit:
    """Jobs of Slurm.

    Args:
        folder: Folder for logs and for jobs on their way; all machines see it.
        cluster: "slurm"; or "local" for processes of this machine, as for a trial. By default the
            cluster that submitit finds.
        workers: Jobs in the queue at once; by default all of them, or as many as there are cores
            where they are local.
        **parameters: Parameters of `submitit.AutoExecutor`, such as slurm_partition or timeout_min;
            they replace those that follow from the jobs.

    Attributes:
        name: "submitit".
        workers: Jobs in the queue at once; None for all of them.
        shortest: Seconds that a job should take at least.

    Raises:
        MutransferError: submitit is not installed, there is no such cluster here, or it knows no
            such parameter.
    """

    name = "submitit"
    shortest = 60.0

    def __init__(
        self,
        folder: str | Path,
        cluster: str | None = None,
        workers: int | None = None,
        **parameters: Any,
    ) -> None:
        with needs(_WHAT, "submitit", _EXTRA):
            import submitit
        self._make = submitit.AutoExecutor
        # Ids of local jobs come again, and with them the names of their files.
        self._folder = Path(folder) / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{os.getpid()}"
        self._parameters = {"name": "mutransfer", "timeout_min": _TIMEOUT, **parameters}
        self._cluster = cluster
        self.is_local = self._executor().cluster == "local"
        if self.is_local and cluster is None:
            raise MutransferError(
                "there is no Slurm here (no command srun): begin on a machine of the cluster, or "
                "use 'submitit:local'"
            )
        self.workers = cores() if self.is_local else None
        if workers is not None:
            self.workers = whole("workers", workers)
        self._jobs = OpenJobs[Submitted](lambda job: job.is_over())
        self._asked = self._listed = time.monotonic()
        self._names: frozenset[str] = frozenset()

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Put a job into the queue.

        Raises:
            MutransferError: it cannot be pickled, or Slurm refuses it.
        """
        message = packed(_WHAT, _EXTRA, resources.cpus, function, arguments)
        needed: dict[str, Any] = {"cpus_per_task": resources.cpus}
        if resources.gpus:
            needed["gpus_per_node"] = resources.gpus
        if resources.memory is not None:
            needed["mem_gb"] = resources.memory / 2**30
        executor = self._executor(**needed)
        try:
            if self.is_local:
                job = executor.submit(run_here, os.getpid(), message)
            else:
                job = executor.submit(run, message)
        except Exception as error:
            raise MutransferError(f"submitit takes no job: {said(error)}") from error
        submitted = Submitted(job, self)
        self._jobs.add(submitted)
        return submitted

    def discard(self, future: Future) -> None:
        """Take a job out of the queue, and end it where it runs."""
        for job in self._jobs:
            if job is future:
                job.end()

    def close(self, *, at_once: bool = False) -> None:
        """Wait for the jobs, or end them."""
        end = time.monotonic() + _END
        for job in self._jobs if at_once else ():
            job.end()
        while any(not job.is_over() for job in self._jobs):
            if at_once and (not self.is_local or time.monotonic() > end):
                break
            time.sleep(_LIST)
        self._jobs.clear()
        with suppress(OSError):
            self._folder.rmdir()

    def names(self) -> frozenset[str]:
        """Return the names of the files in the folder, as of a moment ago."""
        now = time.monotonic()
        if now - self._listed >= _LIST:
            with suppress(OSError):
                # A change makes a shared file system look again.
                self._folder.chmod(self._folder.stat().st_mode)
                self._names = frozenset(os.listdir(self._folder))
            self._listed = time.monotonic()
        return self._names

    def mode(self) -> str:
        """Return the mode of asking for a state; one answer of Slurm is for all jobs."""
        now = time.monotonic()
        if now - self._asked < _LOOK:
            return "cache"
        self._asked = now
        return "force"

    def _executor(self, **needed: Any) -> Any:
        """Return an executor for one job: one that is kept would keep the needs of others."""
        try:
            executor = self._make(folder=self._folder, cluster=self._cluster)
            executor.update_parameters(**{**needed, **self._parameters})
        except Exception as error:
            raise MutransferError(f"submitit refuses: {said(error)}") from error
        return executor


class Submitted:
    """Job of submitit.

    Args:
        job: The job.
        engine: Its engine.
    """

    def __init__(self, job: Any, engine: Submitit) -> None:
        self._job, self._engine = job, engine
        self._ended: float | None = None
        self._outcome: bytes | None = None
        self._reason: str | None = None

    def is_over(self) -> bool:
        """Return True once the job has ended."""
        if self._ended is None and self._has_ended():
            self._ended = time.monotonic()
        return self._ended is not None

    def done(self) -> bool:
        """Return True once there is a result, or will be none."""
        if self._outcome is None and self._reason is None and self.is_over():
            assert self._ended is not None
            if self._job.paths.result_pickle.exists():
                self._read()
            elif self._engine.is_local or time.monotonic() - self._ended >= _LATE:
                self._reason = self._lost(f"state {self._job.state}")
        return self._outcome is not None or self._reason is not None

    def result(self) -> Any:
        """Return the value of the function.

        Raises:
            MutransferError: the job was lost.
        """
        while not self.done():
            time.sleep(_LIST)
        if self._outcome is None:
            raise MutransferError(self._reason)
        return opened(self._outcome)

    def cancel(self) -> bool:
        """Take a job that has not begun out of the queue; return False for another."""
        if self.done() or self._engine.is_local or self._state() != "PENDING":
            return False
        self.end()
        return True

    def end(self) -> None:
        """End the job."""
        if not self.done():
            with suppress(OSError, subprocess.SubprocessError):
                self._job.cancel(check=False)
            self._reason = f"job {self._job.job_id} was given up"

    def _has_ended(self) -> bool:
        if self._engine.is_local:
            return bool(self._job.done())
        if self._job.paths.result_pickle.name in self._engine.names():
            return True
        return bool(self._job.watcher.is_done(self._job.job_id, mode=self._engine.mode()))

    def _state(self) -> str:
        return str(self._job.watcher.get_state(self._job.job_id, mode=self._engine.mode()))

    def _read(self) -> None:
        """Keep the outcome in memory; the logs of a job that was lost stay."""
        try:
            self._outcome = self._job.result()
        except Exception as error:
            self._reason = self._lost(said(error))
            return
        paths = self._job.paths
        files = (paths.result_pickle, paths.submitted_pickle, paths.submission_file)
        for path in (*files, paths.stdout, paths.stderr):
            path.unlink(missing_ok=True)

    def _lost(self, reason: str) -> str:
        return f"job {self._job.job_id} was lost ({reason}): see {self._job.paths.stderr}"


def run_here(sweep: int, message: bytes) -> bytes:
    """Run a job on the machine of its sweep, and end with it.

    Args:
        sweep: Process id of the sweep.
        message: The job.
    """
    # Before torch is imported, which takes as long as a small job.
    threading.Thread(target=_watch, args=(sweep,), daemon=True).start()
    return run(message)


def _watch(sweep: int) -> None:
    while True:
        try:
            os.kill(sweep, 0)
        except OSError:
            os._exit(1)
        time.sleep(_LIST)


def said(error: BaseException) -> str:
    """Return the line of an error that says most; submitit's have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line]
    return [type(error).__name__, *lines[:1], *named][-1]
