"""Driver of Ray, in a process of its own: jobs in, outcomes out."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.experimental import internal_kv as kv

from ._child import Channels
from ._job import run
from ._processes import cores
from ._protocols import Resources
from ._ray import PAUSE, answers

_LOOK = 3.0
"""Seconds between two looks at the cluster."""

_STORE = 100_000_000
"""Bytes of a local object store; jobs and their rows are small."""


def main(channels: Channels) -> None:
    """Connect, then run jobs until the parent has no more."""
    try:
        wishes = pickle.loads(channels.receive())
        silent = wishes.pop("silent")
        most = connect(**wishes)
    except Exception as error:
        channels.send(pickle.dumps((said(error), None)))
        os._exit(1)
    channels.send(pickle.dumps((None, (ray.get_runtime_context().gcs_address, most))))
    threading.Thread(target=_watch, args=(silent,), daemon=True).start()
    jobs = Jobs(channels)
    with suppress(EOFError, OSError):
        while (message := pickle.loads(channels.receive()))[0] != "stop":
            jobs.do(*message)
    ray.shutdown()
    os._exit(0)


class Jobs:
    """Jobs that Ray has.

    Args:
        channels: Where their outcomes go.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._references: dict[int, Any] = {}
        self._function = ray.remote(_begun)
        self._driver = ray.get_runtime_context().get_job_id()

    def do(self, what: str, number: int, *rest: Any) -> None:
        """Do what the parent says; a job is lost where Ray refuses."""
        try:
            getattr(self, what)(number, *rest)
        except Exception as error:
            self._channels.send(pickle.dumps((number, None, f"Ray refuses ({said(error)})")))

    def begin(self, number: int, resources: Resources, job: bytes) -> None:
        """Submit a job."""
        memory = {} if resources.memory is None else {"memory": resources.memory}
        needs = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, **memory}
        # The sweep decides which jobs are repeated.
        function = self._function.options(max_retries=0, **needs)
        reference = function.remote(self._key(number), job)
        self._references[number] = reference
        reference.future().add_done_callback(partial(self._answer, number))

    def end(self, number: int) -> None:
        """Kill the worker of a job."""
        if number in self._references:
            ray.cancel(self._references[number], force=True)

    def leave_out(self, number: int) -> None:
        """Cancel a job that has not begun, and say whether it is so."""
        is_waiting = number in self._references and not kv._internal_kv_exists(self._key(number))
        self._channels.send(pickle.dumps((number, is_waiting, None)))
        if is_waiting:
            self.end(number)

    def _key(self, number: int) -> bytes:
        return f"mutransfer-{self._driver}-{number}".encode()

    def _answer(self, number: int, future: Any) -> None:
        """Send the outcome of a job, or the reason why it was lost."""
        self._references.pop(number, None)
        try:
            outcome, reason = future.result(), None
        except BaseException as error:
            outcome, reason = None, f"a worker of Ray was lost ({said(error)})"
        with suppress(OSError):
            self._channels.send(pickle.dumps((number, outcome, reason)))
        with suppress(Exception):
            kv._internal_kv_del(self._key(number))


def connect(
    address: str | None, cpus: int | None, runtime_env: Mapping[str, Any] | None, patience: float
) -> dict[str, float]:
    """Connect to a cluster; return what a local one has, nothing for another.

    Args:
        address: As `Ray` takes it.
        cpus: CPUs of a local cluster.
        runtime_env: Environment of the workers.
        patience: Seconds for which it is tried.

    Raises:
        ConnectionError: no cluster answers.
    """
    shared: dict[str, Any] = {
        "runtime_env": dict(runtime_env or {}),
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    head = running() if address in (None, "auto") else address
    if address == "local" or (address is None and head is None):
        store = {"object_store_memory": _STORE, "include_dashboard": False}
        ray.init("local", num_cpus=cpus or cores(), **store, **shared)
        return {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU", "memory")}
    if head is None:
        raise ConnectionError("no cluster runs on this machine")
    end = time.monotonic() + patience
    while True:
        try:
            # Ray itself waits for minutes where nobody listens.
            if not answers(head):
                raise ConnectionError(f"nothing answers at {head}")
            ray.init(head, **shared)
            return {}
        except Exception:
            if time.monotonic() > end:
                raise
        ray.shutdown()
        time.sleep(PAUSE)


def running() -> str | None:
    """Return the address in the environment, or that of the cluster on this machine."""
    if "RAY_ADDRESS" in os.environ:
        return os.environ["RAY_ADDRESS"]
    # Ray leaves the address behind when a cluster dies.
    folder = os.environ.get("RAY_TMPDIR", "/tmp" if os.name == "posix" else tempfile.gettempdir())
    with suppress(OSError):
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        return address if answers(address) else None
    return None


def said(error: BaseException) -> str:
    """Return the first sentence of an error, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    sentence = re.split(r"[.]\s|\n", text)[0]
    return f"{type(error).__name__}: {sentence or 'no reason given'}"


def _begun(key: bytes, job: bytes) -> bytes:
    """Run a job in a worker; Ray does not say which jobs have begun."""
    kv._internal_kv_put(key, b"begun")
    return run(job)


def _watch(silent: float) -> None:
    """End this process when the cluster is gone: what it waits for would never come."""
    node = ray.get_runtime_context().get_node_id()
    seen = time.monotonic()

    def look() -> None:
        nonlocal seen
        while True:
            # Answers late, or never, where the head is gone; another head has other nodes.
            if any(each["NodeID"] == node and each["Alive"] for each in ray.nodes()):
                seen = time.monotonic()
            time.sleep(_LOOK)

    threading.Thread(target=look, daemon=True).start()
    while time.monotonic() - seen < silent:
        time.sleep(_LOOK / 3)
    os._exit(1)
