"""Engines by name, users' own engines, and values that are none."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from mutransfer.core import MutransferError
from mutransfer.engines import Engine, Executor, Here, Processes, Resources, executor_of
from tests.engines.jobs import die, double, fail, process_id, value

ANY = Resources()


def test_names_give_executors() -> None:
    here, processes = executor_of("here"), executor_of("processes", 2)
    assert (here.name, here.workers, here.shortest) == ("here", 1, 0)
    assert (processes.name, processes.workers, processes.shortest) == ("processes", 2, 0.5)
    assert executor_of("processes").workers == len(os.sched_getaffinity(0))
    assert all(isinstance(each, Executor) for each in (here, processes))
    assert executor_of(processes) is processes


class Broken:
    def submit(self, function: Any, /, *arguments: Any) -> Any:
        return function(*arguments)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: executor_of("slurm"), "there is no engine 'slurm'; give one of here, processes"),
        (lambda: executor_of("processes", 0), "workers is 0; give a whole number of at least 1"),
        (lambda: executor_of("processes", True), "workers is True"),
        (lambda: executor_of("processes", 1.5), "workers is 1.5"),
        (lambda: Processes(-1), "workers is -1"),
        (lambda: executor_of("here", 2), "the engine 'here' has no workers: use"),
        (lambda: executor_of(Here(), 2), "the engine Here has a number of workers of its own"),
        (lambda: executor_of(Broken(), 2), "the engine Broken has a number of workers"),
        (lambda: executor_of(3), "an engine is one of here.*; this is 3"),
        (lambda: executor_of(ThreadPoolExecutor), "this is <class"),
        (lambda: executor_of(Broken()).submit(ANY, double, 1), "returns a int from submit"),
        (lambda: Resources(cpus=0), "a job's cpus is 0; give a whole number of at least 1"),
        (lambda: Resources(gpus=-1), "a job's gpus is -1"),
        (lambda: Resources(memory=0.5), "a job's memory is 0.5"),
    ],
)
def test_bad_input_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(MutransferError, match=sentence):
        make()


def test_here_is_done_at_once() -> None:
    here = Here()
    future = here.submit(ANY, process_id)
    assert future.done() and future.result() == os.getpid()
    failed = here.submit(ANY, fail, "mine")
    assert failed.done()
    with pytest.raises(ValueError, match="mine"):
        failed.result()
    here.discard(failed)
    here.close(at_once=True)


def test_ctrl_c_goes_through_this_process() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Here().submit(ANY, interrupted)


@pytest.fixture(params=[ThreadPoolExecutor, ProcessPoolExecutor])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """An executor of the standard library."""
    how = {"mp_context": get_context("spawn")} if request.param is ProcessPoolExecutor else {}
    with request.param(max_workers=1, **how) as pool:
        yield pool


def test_executors_of_the_standard_library_are_engines(pool: Pool) -> None:
    assert isinstance(pool, Engine)
    executor = executor_of(pool)
    assert (executor.name, executor.workers) == (type(pool).__name__, None)
    futures = [executor.submit(ANY, double, number) for number in range(3)]
    assert [value(future) for future in futures] == [0, 2, 4]
    with pytest.raises(ValueError, match="mine"):
        value(executor.submit(ANY, fail, "mine"))
    executor.close()
    # It is its user's: it goes on.
    assert value(executor.submit(ANY, double, 4)) == 8


def test_a_pool_that_broke_says_what_to_do() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        executor = executor_of(pool)
        with pytest.raises(Exception, match="terminated abruptly"):
            value(executor.submit(ANY, die))
        with pytest.raises(MutransferError, match=r"ProcessPoolExecutor takes no job .*start the"):
            executor.submit(ANY, double, 1)


def test_equal_jobs_are_two_for_an_engine_that_keeps_results() -> None:
    """Dask returns the first result where function and arguments are the same."""

    class Keeping:
        def __init__(self) -> None:
            self.pool, self.kept = ThreadPoolExecutor(1), {}

        def submit(self, function: Any, /, *arguments: Any) -> Any:
            job = (function, arguments)
            if job not in self.kept:
                self.kept[job] = self.pool.submit(function, *arguments)
            return self.kept[job]

    engine = Keeping()
    executor = executor_of(engine)
    first, second = executor.submit(ANY, double, 1), executor.submit(ANY, double, 1)
    assert first is not second and value(second) == 2
    engine.pool.shutdown()


def test_jobs_of_an_own_engine_are_cancelled_before_they_begin() -> None:
    with ThreadPoolExecutor(1) as pool:
        executor = executor_of(pool)
        import threading

        gate = threading.Event()
        running = executor.submit(ANY, gate.wait, 60)
        waiting, other = executor.submit(ANY, double, 1), executor.submit(ANY, double, 2)
        executor.discard(waiting)
        executor.close(at_once=True)
        gate.set()
        assert value(running) is True
        assert [future.cancelled() for future in (waiting, other)] == [True, True]
