"""Ray as an engine: a running cluster, or one of this machine.

The driver of Ray is a child process (`_ray_driver`), as Ray ends its driver's process when the head
of the cluster is gone, and may take minutes to see it. So a sweep lives on, and connects anew.
"""

from __future__ import annotations

import pickle
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import IO, Any

from ..core import MutransferError, needs
from ._child import Child
from ._job import opened, packed
from ._protocols import Future, Resources, whole

_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}

_WHAT, _EXTRA = "the engine 'ray'", "ray"

_AGAIN = 60.0
"""Seconds for which a cluster that was lost is tried again."""

PAUSE = 1.0
"""Seconds between two attempts to reach a head."""

_ANSWER = 3.0
"""Seconds that a head may take to answer."""

_CONNECT = 120.0
"""Further seconds after which a driver that is not connected is given up."""

_LEAVE = 10.0
"""Seconds that a driver has to leave its cluster."""

_SILENT = 15.0
"""Seconds of silence after which a cluster is lost; a head that is replaced takes some."""

_ADDRESS = re.compile(r"auto|local|([^\s:/]+|\[[0-9a-f:]+\]):\d+", re.IGNORECASE)


class Ray:
    """Cluster of Ray.

    Args:
        address: "host:port" of its head; "auto" for the one that runs on this machine; "local" for
            one that begins and ends with the sweep. By default the one that runs here, or else a
            local one.
        workers: Jobs that run at once; by default as many as the cluster has room for. A local
            cluster has that many CPUs.
        runtime_env: Environment of the workers, as `ray.init` takes it.

    Attributes:
        name: "ray".
        workers: Jobs that run at once; None where Ray decides.
        shortest: Seconds that a job should take at least.

    Raises:
        MutransferError: the address is none, the number is below 1, or Ray is not installed.
    """

    name = "ray"
    shortest = 1.0

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        with needs(_WHAT, "ray", _EXTRA):
            if find_spec("ray") is None:
                raise ModuleNotFoundError
        if address is not None and not _ADDRESS.fullmatch(address):
            raise MutransferError(
                f"the address of a Ray cluster is {address!r}; give host:port, auto or local"
            )
        self.workers = None if workers is None else whole("workers", workers)
        self._address, self._lost = address, ""
        self._options = {"cpus": workers, "runtime_env": runtime_env, "silent": _SILENT}
        self._driver: Driver | None = None

    def submit(
        self, resources: Resources, function: Callable[..., Any], /, *arguments: Any
    ) -> Future:
        """Begin a job; connect first, anew where the connection was lost.

        Raises:
            MutransferError: no cluster answers, for a minute where one did before; or the job
                cannot be pickled, or needs more than a local cluster has.
        """
        job = packed(_WHAT, _EXTRA, resources.cpus, function, arguments)
        if self._driver is not None and not self._driver.is_reachable():
            self._lost = self._driver.place
            self._driver.end()
            self._driver = None
        if self._driver is None:
            # The same cluster again, not another one that may run here now.
            address, patience = self._lost or self._address, _AGAIN if self._lost else 0.0
            self._driver = Driver({**self._options, "address": address, "patience": patience})
        return self._driver.submit(resources, job)

    def discard(self, future: Future) -> None:
        """Kill the worker of a job; Ray needs five seconds for one that is stopped."""
        if self._driver is not None:
            self._driver.discard(future)

    def close(self, *, at_once: bool = False) -> None:
        """Wait for the jobs, or give them up; leave the cluster, and end a local one."""
        driver, self._driver = self._driver, None
        if driver is not None:
            if not at_once:
                driver.wait()
            driver.end()
        self._lost = ""


def answers(address: str) -> bool:
    """Return True if somebody listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


class Submitted(futures.Future[Any]):
    """Future of a job that Ray has.

    Args:
        leave_out: Cancels the job if it has not begun; returns True if so.
    """

    def __init__(self, leave_out: Callable[[], bool]) -> None:
        super().__init__()
        self._leave_out = leave_out

    def cancel(self) -> bool:
        """Leave the job out if it has not begun."""
        return not self.done() and self._leave_out()


class Driver:
    """Child process that is connected to a cluster.

    Args:
        options: Arguments of `_ray_driver.connect`, and the seconds of silence that it bears.

    Attributes:
        is_connected: False once the cluster is lost.
        place: Address of the cluster, or "local".

    Raises:
        MutransferError: no cluster answers.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.is_connected = True
        self._numbers, self._lock = count(), threading.Lock()
        self._jobs: dict[int, Submitted] = {}
        self._answers: dict[int, futures.Future[bool]] = {}
        # Ray writes there about lost workers and nodes, which the sweep reports itself.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = Child("_ray_driver", _NO_REPORTS, self._log, _LEAVE)
        self._head, self._most = self._connected(options)
        self.place = "local" if self._most else self._head
        threading.Thread(target=self._listen, daemon=True).start()

    def is_reachable(self) -> bool:
        """Return True once the head answers, False if the driver has given it up."""
        while self.is_connected and not answers(self._head):
            time.sleep(PAUSE)
        return self.is_connected

    def submit(self, resources: Resources, job: bytes) -> Future:
        """Begin a job.

        Raises:
            MutransferError: it needs more than a local cluster has.
        """
        needed = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory or 0}
        for name, most in self._most.items():
            if needed[name] > most:
                raise MutransferError(
                    f"a job needs {needed[name]} {name}, and the local Ray cluster has {most:g}: "
                    "give the address of a larger one"
                )
        number = next(self._numbers)
        future = Submitted(partial(self._leave_out, number))
        with self._lock:
            self._jobs[number] = future
        self._send("begin", number, resources, job)
        if not self.is_connected:
            self._lose([number])
        return future

    def discard(self, future: Future) -> None:
        """Kill the worker of a job."""
        with self._lock:
            numbers = [number for number, job in self._jobs.items() if job is future]
        self._lose(numbers, "a job was given up")
        for number in numbers:
            self._send("end", number)

    def wait(self) -> None:
        """Wait for all jobs."""
        with self._lock:
            jobs = list(self._jobs.values())
        futures.wait(jobs)

    def end(self) -> None:
        """Leave the cluster; jobs that run end with their driver."""
        self.is_connected = False
        self._send("stop")
        self._child.wait(_LEAVE)
        self._child.end()
        self._log.close()
        self._lose(list(self._jobs))

    def _connected(self, options: Mapping[str, Any]) -> tuple[str, Mapping[str, float]]:
        """Return the address of the head, and what a local cluster has."""
        late = threading.Timer(options["patience"] + _CONNECT, self._child.kill)
        late.start()
        try:
            self._child.channels.send(pickle.dumps(options))
            failure, cluster = pickle.loads(self._child.channels.receive())
        except (EOFError, OSError):
            self._child.kill()
            failure = f"its driver ended ({self._child.fate()}): {self._last_words()}"
        except BaseException:
            self._child.kill()
            self.end()
            raise
        finally:
            late.cancel()
        if failure:
            self.end()
            raise MutransferError(
                f"cannot connect to Ray: {failure}; start a cluster (ray start --head) and give "
                "its address, or use 'ray:local'"
            )
        head, most = cluster
        return head, most

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _send(self, *message: Any) -> None:
        # Where the driver is gone, `_listen` sees it and loses all jobs.
        with suppress(OSError, ValueError):
            self._child.channels.send(pickle.dumps(message))

    def _listen(self) -> None:
        """Settle jobs as they end; lose all when the driver is gone."""
        with suppress(EOFError, OSError, ValueError):
            while True:
                number, outcome, reason = pickle.loads(self._child.channels.receive())
                if isinstance(outcome, bool):
                    self._left_out(number, outcome)
                elif outcome is None:
                    self._lose([number], reason)
                else:
                    self._settle(number, partial(opened, outcome))
        self.is_connected = False
        self._lose(list(self._jobs))

    def _leave_out(self, number: int) -> bool:
        """Cancel a job that has not begun, which the driver knows."""
        answer: futures.Future[bool] = futures.Future()
        with self._lock:
            self._answers[number] = answer
        self._send("leave_out", number)
        try:
            return answer.result(_ANSWER)
        except futures.TimeoutError:
            return False

    def _left_out(self, number: int, is_left_out: bool) -> None:
        with self._lock:
            future = self._jobs.pop(number, None) if is_left_out else None
            answer = self._answers.pop(number, None)
        if future is not None:
            futures.Future.cancel(future)
        if answer is not None:
            answer.set_result(future is not None)

    def _lose(self, numbers: Sequence[int], reason: str = "the connection to Ray was lost") -> None:
        def lost() -> None:
            raise MutransferError(reason)

        for number in numbers:
            self._settle(number, lost)

    def _settle(self, number: int, value: Callable[[], Any]) -> None:
        with self._lock:
            future = self._jobs.pop(number, None)
        if future is not None:
            try:
                future.set_result(value())
            except Exception as error:
                future.set_exception(error)
