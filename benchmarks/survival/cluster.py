"""A real Ray cluster of two nodes on this machine, whose nodes can be killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psutil

from .scene import Scene, Scenery
from .settings import LeftOut
from .studies import DIARY

_START = 60.0
"""Seconds in which a node has to be up."""

_STORE = 80_000_000


class Cluster:
    """A head and another node, each started by the command `ray start`.

    Args:
        folder: Folder of its files, and of the diary of its workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.diary = folder / "ray", folder / "cluster.diary"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # A token of its own: nobody else can run anything in it.
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid4().hex,
            "RAY_USAGE_STATS_ENABLED": "0",
            DIARY: str(self.diary),
        }
        self.head = self._started("--head", "--port", str(self.port))
        self.node = self._started("--address", self.address)

    @property
    def address(self) -> str:
        """Address of the head."""
        return f"127.0.0.1:{self.port}"

    @property
    def roots(self) -> list[int]:
        """Processes whose descendants are the workers."""
        return [self.head.pid, self.node.pid]

    def restart_head(self) -> None:
        """Kill the head and the node that follows it; start both at the same address."""
        self.end()
        self.head = self._started("--head", "--port", str(self.port))
        self.node = self._started("--address", self.address)

    def replace_node(self) -> None:
        """Kill the other node with its workers, as where a machine fails; start a new one."""
        self._kill(self.node)
        self.node = self._started("--address", self.address)

    def end(self) -> None:
        """End all."""
        for each in (self.node, self.head):
            self._kill(each)

    def _started(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += ["--num-cpus", "1", "--object-store-memory", str(_STORE)]
        if "--head" in options:
            command += ["--include-dashboard", "false", "--temp-dir", str(self.folder)]
        log = self.folder.with_suffix(f".{time.monotonic_ns()}.log")
        with log.open("w") as file:
            node = subprocess.Popen(
                command, env=os.environ | self.environment, stdout=file, stderr=file
            )
        end = time.monotonic() + _START
        while "Ray runtime started" not in log.read_text():
            if time.monotonic() > end or node.poll() is not None:
                self._kill(node)
                raise RuntimeError(f"a node of Ray does not start: {log.read_text()[-300:]}")
            time.sleep(0.1)
        return node

    @staticmethod
    def _kill(node: subprocess.Popen[bytes]) -> None:
        with suppress(psutil.Error):
            family = psutil.Process(node.pid).children(recursive=True)
            for each in [psutil.Process(node.pid), *family]:
                with suppress(psutil.Error):
                    each.kill()
        node.wait()


@contextmanager
def cluster(folder: Path, engine: str) -> Iterator[Scenery]:
    """Give a cluster of two nodes, to which sweeps connect by its address."""
    if find_spec("ray") is None:
        raise LeftOut("Ray is not installed")
    nodes = Cluster(folder)
    kept = {name: os.environ.get(name) for name in nodes.environment}
    os.environ.update(nodes.environment)
    try:
        yield Scenery(folder, f"ray:{nodes.address}", nodes.roots, nodes, nodes.diary)
    finally:
        nodes.end()
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(nodes.folder, ignore_errors=True)


def kill_node(scene: Scene) -> bool:
    """Kill a node; another one joins."""
    scene.scenery.stage.replace_node()
    scene.scenery.roots[:] = scene.scenery.stage.roots
    return True


def restart_head(scene: Scene) -> bool:
    """Kill the head and restart it at the same address."""
    scene.scenery.stage.restart_head()
    scene.scenery.roots[:] = scene.scenery.stage.roots
    return True
