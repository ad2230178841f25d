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
    jobs: dict[int, Any] = {}
    remote = ray.remote(run)
    with suppress(EOFError, OSError):
        while True:
            what, *rest = pickle.loads(channels.receive())
            if what == "run":
                number, resources, job = rest
                # The sweep decides which jobs are repeated.
                reference = remote.options(max_retries=0, **options(resources)).remote(job)
                jobs[number] = reference
                reference.future().add_done_callback(partial(_answer, channels, jobs, number))
            elif what == "cancel" and rest[0] in jobs:
                ray.cancel(jobs[rest[0]], force=True)
            elif what == "end":
                break
    ray.shutdown()
    os._exit(0)


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


def options(resources: Resources) -> dict[str, Any]:
    """Return what Ray calls the needs of a job."""
    memory = {} if resources.memory is None else {"memory": resources.memory}
    return {"num_cpus": resources.cpus, "num_gpus": resources.gpus, **memory}


def said(error: BaseException) -> str:
    """Return the first sentence of an error, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    sentence = re.split(r"[.]\s|\n", text)[0]
    return f"{type(error).__name__}: {sentence or 'no reason given'}"


def _answer(channels: Channels, jobs: dict[int, Any], number: int, future: Any) -> None:
    """Send the outcome of a job, or the reason why it was lost."""
    jobs.pop(number, None)
    try:
        outcome, reason = future.result(), None
    except BaseException as error:
        outcome, reason = None, f"a worker of Ray was lost ({said(error)})"
    with suppress(OSError):
        channels.send(pickle.dumps((number, outcome, reason)))


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
