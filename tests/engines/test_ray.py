"""Ray on this machine: jobs, and what a killed or stopped worker costs."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from mutransfer.core import MutransferError
from mutransfer.engines import Ray, Resources
from tests.engines.jobs import (
    announced,
    announcement,
    die,
    double,
    eventually,
    fail,
    is_alive,
    value,
)

ROOT = Path(__file__).parents[2]
ANY = Resources()
LOST = "a worker of Ray was lost"


@pytest.fixture(scope="module")
def ray() -> Iterator[Ray]:
    """A local cluster with two CPUs."""
    ray = Ray("local", 2)
    yield ray
    ray.close(at_once=True)


def test_jobs_run_side_by_side_with_one_thread_each(ray: Ray, tmp_path: Path) -> None:
    jobs = [ray.submit(ANY, announced, tmp_path / name, 0.5) for name in "ab"]
    assert len({value(job) for job in jobs} - {os.getpid()}) == 2
    number = 20
    assert value(ray.submit(ANY, lambda: (number, os.environ["OMP_NUM_THREADS"]))) == (20, "1")
    assert value(ray.submit(Resources(cpus=2), lambda: os.environ["OMP_NUM_THREADS"])) == "2"
    assert (ray.name, ray.workers, ray.shortest) == ("ray", 2, 1)


def test_failures_come_with_their_traceback(ray: Ray) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        value(ray.submit(ANY, fail, "mine"))
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(MutransferError, match="a job cannot be sent to other processes"):
        ray.submit(ANY, double, (each for each in range(3)))


def test_a_killed_worker_costs_its_job_alone(ray: Ray, tmp_path: Path) -> None:
    lost = ray.submit(ANY, announced, tmp_path / "lost")
    other = ray.submit(ANY, announced, tmp_path / "other", 1.0)
    os.kill(announcement(tmp_path / "lost"), signal.SIGKILL)
    with pytest.raises(MutransferError, match=LOST):
        value(lost)
    assert value(other) == announcement(tmp_path / "other")
    with pytest.raises(MutransferError, match=LOST):
        value(ray.submit(ANY, die))
    assert value(ray.submit(ANY, double, 4)) == 8


def test_a_discarded_job_ends_with_its_worker(ray: Ray, tmp_path: Path) -> None:
    hung = ray.submit(Resources(cpus=2), announced, tmp_path / "hung")
    waiting = ray.submit(ANY, announced, tmp_path / "never")
    pid = announcement(tmp_path / "hung")
    os.kill(pid, signal.SIGSTOP)
    for job in (waiting, hung):
        ray.discard(job)
        assert job.done()
        with pytest.raises(MutransferError, match="given up"):
            job.result()
    # Its place is free again for a job that needs the whole machine.
    assert value(ray.submit(Resources(cpus=2), double, 1)) == 2
    assert not is_alive(pid) and not (tmp_path / "never").exists()
    ray.discard(hung)


def test_a_job_that_waits_can_be_cancelled(ray: Ray, tmp_path: Path) -> None:
    running = ray.submit(Resources(cpus=2), announced, tmp_path / "running", 3.0)
    waiting = ray.submit(ANY, announced, tmp_path / "never")
    announcement(tmp_path / "running")
    assert not running.cancel() and waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result()
    assert value(running) and not running.cancel()
    assert value(ray.submit(ANY, double, 1)) == 2 and not (tmp_path / "never").exists()


def test_a_job_that_ray_refuses_is_lost(ray: Ray) -> None:
    odd = Resources()
    object.__setattr__(odd, "cpus", -1)
    with pytest.raises(MutransferError, match=r"Ray refuses \(ValueError"):
        value(ray.submit(odd, double, 1))
    assert value(ray.submit(ANY, double, 1)) == 2


@pytest.mark.parametrize("needs", [{"cpus": 3}, {"gpus": 1}, {"memory": 10**15}])
def test_a_job_too_large_for_this_machine_is_refused(ray: Ray, needs: dict[str, int]) -> None:
    """Ray would wait for a machine that never comes."""
    with pytest.raises(MutransferError, match=r"the local Ray cluster has .*: give the"):
        ray.submit(Resources(**needs), double, 1)


def test_a_driver_that_dies_is_replaced(ray: Ray, tmp_path: Path) -> None:
    job = ray.submit(ANY, announced, tmp_path / "job")
    pid = announcement(tmp_path / "job")
    assert ray._driver is not None
    ray._driver._child.kill()
    with pytest.raises(MutransferError, match="the connection to Ray was lost"):
        value(job)
    assert value(ray.submit(ANY, double, 2), 60) == 4
    eventually(lambda: not is_alive(pid))
