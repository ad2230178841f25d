"""Ray: where it begins, and that nothing stays behind where it ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mutransfer.core import MutransferError
from mutransfer.engines import Ray, Resources, _ray, executor_of
from tests.engines.jobs import (
    announced,
    announcement,
    double,
    eventually,
    is_alive,
)

ROOT = Path(__file__).parents[2]
ANY = Resources()
LOST = "a worker of Ray was lost"


def test_closing_ends_the_cluster_and_a_later_job_begins_anew(tmp_path: Path) -> None:
    ray = executor_of("ray:local", 1)
    done = ray.submit(ANY, double, 1)
    ray.close()
    assert done.result() == 2
    job = ray.submit(ANY, announced, tmp_path / "job")
    assert isinstance(ray, Ray) and ray._driver is not None
    driver = psutil.Process(ray._driver._child._process.pid)
    announcement(tmp_path / "job", 60)
    family = driver.children(recursive=True)
    assert len(family) > 3
    ray.close(at_once=True)
    with pytest.raises(MutransferError, match=r"the connection to Ray was lost|was ended"):
        job.result()
    eventually(lambda: not any(is_alive(each.pid) for each in family))


PARENT = """
import sys
from pathlib import Path
from mutransfer.engines import Ray, Resources
from tests.engines.jobs import announced
ray = Ray("local", 1)
ray.submit(Resources(), announced, Path(sys.argv[1]))
print(ray._driver._child._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_local_cluster_does_not_outlive_its_parent(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "job")],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        driver = psutil.Process(int(parent.stdout.readline()))
        announcement(tmp_path / "job", 60)
        family = [driver, *driver.children(recursive=True)]
        parent.kill()
        parent.wait(20)
    eventually(lambda: not any(is_alive(each.pid) for each in family))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Ray("somewhere"), "the address of a Ray cluster is 'somewhere'; give host:port"),
        (lambda: Ray("ray://head:10001"), "the address of a Ray cluster is 'ray://head:10001'"),
        (lambda: executor_of("ray:"), "the address of a Ray cluster is ''"),
        (lambda: Ray("local", 0), "workers is 0"),
        (
            lambda: Ray("127.0.0.1:1").submit(ANY, double, 1),
            "nothing answers at 127.0.0.1:1; start",
        ),
        (lambda: Ray("auto").submit(ANY, double, 1), "no cluster runs on this machine"),
    ],
)
def test_bad_input_is_refused(
    make: Callable[[], Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(MutransferError, match=sentence):
        make()


def test_a_driver_that_cannot_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MutransferError, match=r"nothing answers at 127\.0\.0\.1:1"):
        Ray("auto").submit(ANY, double, 1)
    monkeypatch.setattr(_ray, "_NO_REPORTS", {"PYTHONHASHSEED": "none"})
    with pytest.raises(MutransferError, match=r"its driver ended \(exit code 1\): \w+"):
        Ray("local").submit(ANY, double, 1)


def test_a_driver_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray, "_CONNECT", 0.1)
    with pytest.raises(MutransferError, match=r"its driver ended \(signal 9\)"):
        Ray("local").submit(ANY, double, 1)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray, "find_spec", lambda name: None)
    with pytest.raises(MutransferError, match=r"pip install 'mutransfer\[ray\]'"):
        Ray()
