"""Submitit: its local executor, and Slurm as far as four commands of it go."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mutransfer.core import MutransferError
from mutransfer.engines import Executor, Resources, Submitit, _submitit, executor_of
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
from tests.engines.slurm import install

ANY = Resources()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Executor]:
    """Two local jobs at once."""
    local = executor_of("submitit:local", 2, folder=tmp_path / "jobs")
    yield local
    local.close(at_once=True)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_local_jobs_run_side_by_side_and_leave_no_files(local: Executor, tmp_path: Path) -> None:
    jobs = [local.submit(ANY, announced, tmp_path / name, 1.0) for name in "ab"]
    assert len({value(job) for job in jobs} - {os.getpid()}) == 2
    number = 20
    job = local.submit(ANY, lambda: (number, os.environ["OMP_NUM_THREADS"], os.getcwd()))
    assert value(job) == (20, "1", os.getcwd()) and job.result() == value(job)
    assert (local.name, local.workers, local.shortest) == ("submitit", 2, 60)
    local.close()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_failures_come_with_their_traceback(local: Executor) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        value(local.submit(ANY, fail, "mine"))
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(MutransferError, match="a job cannot be sent to other processes"):
        local.submit(ANY, double, (each for each in range(3)))


def test_a_killed_worker_costs_its_job_alone(local: Executor, tmp_path: Path) -> None:
    lost = local.submit(ANY, announced, tmp_path / "lost")
    other = local.submit(ANY, announced, tmp_path / "other", 2.0)
    os.kill(announcement(tmp_path / "lost"), signal.SIGKILL)
    with pytest.raises(MutransferError, match=r"job \d+ was lost \(state FINISHED\): see .*err"):
        value(lost)
    assert value(other) == announcement(tmp_path / "other")
    with pytest.raises(MutransferError, match="was lost"):
        value(local.submit(ANY, die))
    assert value(local.submit(ANY, double, 4)) == 8


@pytest.mark.parametrize("stopped", [False, True])
def test_a_discarded_job_ends_with_its_worker(
    local: Executor, tmp_path: Path, stopped: bool
) -> None:
    hung = local.submit(ANY, announced, tmp_path / "hung")
    other = local.submit(ANY, announced, tmp_path / "other", 2.0)
    pid = announcement(tmp_path / "hung")
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    local.discard(hung)
    with pytest.raises(MutransferError, match="was given up"):
        value(hung)
    eventually(lambda: not is_alive(pid))
    assert value(other) == announcement(tmp_path / "other")
    local.discard(other)
    assert other.result() == value(other)


SWEEP = """
import sys, time
from pathlib import Path
from mutransfer.engines import Resources, executor_of
from tests.engines.jobs import announced
folder = Path(sys.argv[1])
local = executor_of("submitit:local", 1, folder=folder / "jobs")
local.submit(Resources(), announced, folder / "a")
time.sleep(600)
"""


def test_a_local_job_ends_with_its_sweep(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    command = [sys.executable, "-c", SWEEP, str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as sweep:
        pid = announcement(tmp_path / "a")
        assert is_alive(pid)
        sweep.kill()
    eventually(lambda: not is_alive(pid), 5)


def test_closing_at_once_ends_local_jobs(local: Executor, tmp_path: Path) -> None:
    job = local.submit(ANY, announced, tmp_path / "job")
    pid = announcement(tmp_path / "job")
    local.close(at_once=True)
    assert job.done() and not is_alive(pid)
    with pytest.raises(MutransferError, match="was given up"):
        job.result()


def test_a_result_that_cannot_be_read_is_lost(local: Executor, tmp_path: Path) -> None:
    job = local.submit(ANY, announced, tmp_path / "job", 1.0)
    announcement(tmp_path / "job")
    # The module is gone when the job ends.
    path = job._job.paths.result_pickle  # type: ignore[attr-defined]
    path.write_bytes(b"torn")
    job._job._process.kill()  # type: ignore[attr-defined]
    with pytest.raises(MutransferError, match=r"job \d+ was lost \("):
        value(job)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Slurm in it."""
    for name, text in install(tmp_path).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(_submitit, "_LATE", 0.5)
    monkeypatch.setattr(_submitit, "_LOOK", 0.5)
    return tmp_path


def test_slurm_gets_what_a_job_needs_and_its_user_says(slurm: Path) -> None:
    engine = Submitit(slurm / "jobs", slurm_partition="short", timeout_min=30)
    assert engine.workers is None
    large = Resources(cpus=3, gpus=2, memory=3 * 2**30)
    assert value(engine.submit(large, double, 1)) == 2
    (script,) = slurm.glob("*.sh")
    lines = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert lines >= {
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=3GB",
        "#SBATCH --partition=short",
        "#SBATCH --time=30",
        "#SBATCH --job-name=mutransfer",
    }
    script.unlink()
    # A smaller job keeps nothing of it, and the user's word counts for all.
    engine = Submitit(slurm / "jobs", "slurm", workers=7, cpus_per_task=4)
    assert engine.workers == 7
    assert value(engine.submit(Resources(gpus=1), double, 2)) == 4
    script.unlink(missing_ok=True)
    assert value(engine.submit(ANY, double, 2)) == 4
    texts = [path.read_text() for path in slurm.glob("*.sh")]
    assert all("--cpus-per-task=4" in text and "--mem" not in text for text in texts)
    assert sorted("gpus" in text for text in texts) == [False, True]
    assert all("--time=240" in text for text in texts)


def test_a_job_that_slurm_ended_is_lost(slurm: Path, tmp_path: Path) -> None:
    engine = Submitit(slurm / "jobs")
    lost = engine.submit(ANY, announced, tmp_path / "lost")
    os.kill(announcement(tmp_path / "lost"), signal.SIGKILL)
    with pytest.raises(MutransferError, match=r"job \d+ was lost \(state OUT_OF_MEMORY\): see"):
        value(lost)
    jobs = [engine.submit(ANY, announced, tmp_path / name) for name in "ab"]
    pids = [announcement(tmp_path / name) for name in "ab"]
    engine.discard(jobs[0])
    eventually(lambda: not is_alive(pids[0]))
    assert is_alive(pids[1])
    engine.close(at_once=True)
    eventually(lambda: not is_alive(pids[1]))
    assert all(job.done() for job in jobs)


def test_a_job_that_waits_in_slurm_can_be_cancelled(slurm: Path, tmp_path: Path) -> None:
    engine = Submitit(slurm / "jobs")
    jobs = [engine.submit(ANY, announced, tmp_path / name) for name in "ab"]
    pids = [announcement(tmp_path / name) for name in "ab"]
    assert not any(job.cancel() for job in jobs)
    number = jobs[0]._job.job_id  # type: ignore[attr-defined]
    (slurm / "states").write_text(f"{number}|PENDING|none\n")
    eventually(jobs[0].cancel)
    eventually(lambda: not is_alive(pids[0]))
    assert jobs[0].done() and not jobs[1].done()
    engine.close(at_once=True)


def test_a_job_that_slurm_refuses_says_why(slurm: Path) -> None:
    engine = Submitit(slurm / "jobs", slurm_partition="full")
    with pytest.raises(MutransferError, match=r"submitit takes no job: .*partition is full"):
        engine.submit(ANY, double, 1)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda f: Submitit(f, "pbs"), "submitit refuses: .*no executor named|pbs"),
        (lambda f: Submitit(f, "local", slurm_partitoin="x"), "Unknown argument 'partitoin'"),
        (lambda f: Submitit(f, "local", timeout_min="1h"), '"timeout_min" expected type'),
        (lambda f: Submitit(f, "local", workers=0), "workers is 0"),
        (lambda f: Submitit(f), r"there is no Slurm here \(no command srun\): .* 'submitit:local'"),
        (lambda f: executor_of("submitit:slurm", folder=f), 'submitit refuses: .*"srun"'),
        (lambda f: Submitit("/proc/jobs", "local"), "submitit refuses: .*/proc/jobs"),
    ],
)
def test_bad_input_is_refused(
    make: Callable[[Path], Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "srun" else real(name))
    with pytest.raises(MutransferError, match=sentence):
        make(tmp_path / "jobs")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MutransferError, match=r"pip install 'mutransfer\[submitit\]'"):
        Submitit(tmp_path)
