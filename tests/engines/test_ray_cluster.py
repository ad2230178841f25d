"""A real cluster of two nodes: one is killed with its workers, then the head, which restarts."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from mutransfer.core import MutransferError
from mutransfer.engines import Ray, Resources, _ray
from tests.engines.jobs import announced, announcement, double, is_alive, value

ANY = Resources()
LOST = r"a worker of Ray was lost|the connection to Ray was lost"


def killed(node: Any) -> None:
    """Kill the processes of a node at once, as where a machine fails."""
    tops = [each.process.pid for group in node.all_processes.values() for each in group]
    family = [psutil.Process(pid) for pid in tops]
    family += [child for each in family for child in each.children(recursive=True)]
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


class Nodes:
    """A head and a node with a CPU each."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        how = {"num_cpus": 1, "include_dashboard": False, "gcs_server_port": self.port}
        self.cluster = Cluster(initialize_head=True, head_node_args=how)
        self.head = self.cluster.head_node
        self.node = self.cluster.add_node(num_cpus=1, resources={"other": 1})


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster of two nodes."""
    nodes = Nodes()
    yield nodes
    nodes.cluster.shutdown()


def node_of(pid: int, nodes: Nodes) -> Any:
    """Return the node that a worker is a child of."""
    parents = {each.pid for each in psutil.Process(pid).parents()}
    for node in (nodes.head, nodes.node):
        if parents & {each.process.pid for each in node.all_processes["raylet"]}:
            return node
    raise AssertionError(f"{pid} is on no node")


def test_nodes_die_and_the_sweep_goes_on(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ray, "_SILENT", 5.0)
    monkeypatch.setenv("RAY_ADDRESS", nodes.cluster.address)
    ray = Ray("auto")
    assert ray.workers is None
    jobs = [ray.submit(ANY, announced, tmp_path / name) for name in "ab"]
    pids = [announcement(tmp_path / name, 60) for name in "ab"]
    places = [node_of(pid, nodes) for pid in pids]
    assert {id(place) for place in places} == {id(nodes.head), id(nodes.node)}

    away = places.index(nodes.node)
    killed(nodes.node)
    with pytest.raises(MutransferError, match=LOST):
        value(jobs[away], 60)
    assert not jobs[1 - away].done() and is_alive(pids[1 - away])
    ray.discard(jobs[1 - away])
    assert value(ray.submit(ANY, double, 1), 60) == 2

    job = ray.submit(ANY, announced, tmp_path / "c")
    announcement(tmp_path / "c", 60)
    killed(nodes.head)
    with pytest.raises(MutransferError, match=LOST):
        value(job, 60)
    nodes.cluster.shutdown()
    nodes.start()
    assert value(ray.submit(ANY, double, 2), 60) == 4
    assert value(ray.submit(ANY, os.getpid), 60) != os.getpid()
    assert jobs[1 - away].done() and not is_alive(pids[1 - away])
    ray.close()
