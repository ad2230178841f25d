"""One-thread processes that train chunks of a study side by side.

The workers are loky's: they do not run the main module again, and functions and classes of a
script or a notebook travel by value.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core import MutransferError, needs
from ..training import Candidate, Judge, Program, Watch, measured, shortened
from ._chunks import Chunk, members_of
from ._models import Models
from ._run import Run
from ._store import Row
from ._study import Study

_IDLE = 300
"""Seconds after which workers without work end."""

_POLL = 0.2
"""Seconds between two looks at the workers' counts of steps."""


class Workers:
    """Processes that know a study.

    Args:
        study: The study; it has to be picklable.
        number: How many processes.

    Raises:
        MutransferError: loky is not installed, or the study cannot be pickled.
    """

    def __init__(self, study: Study, number: int) -> None:
        with needs("training in several processes", "loky", "processes"):
            import cloudpickle
            import loky
        self.number = number
        try:
            self._study = _pickled(study, cloudpickle)
        except Exception as error:
            raise MutransferError(
                f"the study cannot be sent to other processes ({type(error).__name__}: {error})"
            ) from error
        self._died = loky.process_executor.TerminatedWorkerError
        self._pool = loky.get_reusable_executor(
            max_workers=number,
            timeout=_IDLE,
            initializer=_begin,
            initargs=(list(sys.path),),
            env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def measured(self, runs: Sequence[Run], candidate: Candidate) -> list[Candidate]:
        """Return the pace of a program, measured in all processes at once.

        Args:
            runs: Runs to train for a few steps.
            candidate: The program, with its pace in one process.
        """
        tasks = [
            self._pool.submit(_measured, self._study, tuple(runs), candidate)
            for _ in range(self.number)
        ]
        return [self._result(task) for task in tasks]

    def rows(
        self, chunks: Sequence[tuple[Chunk, Judge | None]], watch: Watch | None
    ) -> Iterator[list[Row]]:
        """Yield the rows of chunks, as they are finished.

        Args:
            chunks: The chunks, each with its judge.
            watch: Receives progress.

        Raises:
            MutransferError: a process died, or a model fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "steps"
            counts = np.memmap(path, np.int64, "w+", shape=(len(chunks),))
            tasks: list[Future[list[Row]]] = []
            for number, (chunk, judge) in enumerate(chunks):
                arguments = (tuple(chunk.runs), chunk.program, judge, str(path), number)
                tasks.append(self._pool.submit(_trained, self._study, *arguments))
            try:
                yield from self._finished(tasks, counts, watch)
            except BaseException:
                # Ctrl-C, or the failure of another chunk: nobody waits for the others.
                self._pool.shutdown(wait=False, kill_workers=True)
                raise

    def _finished(
        self, tasks: Sequence[Future[list[Row]]], counts: Any, watch: Watch | None
    ) -> Iterator[list[Row]]:
        left: set[Future[list[Row]]] = set(tasks)
        seen = 0
        while left:
            done, left = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
            steps = int(counts.sum())
            if watch is not None and steps > seen:
                watch(steps - seen)
            seen = steps
            # In the order of the chunks, as a record reads better so.
            for task in [task for task in tasks if task in done]:
                yield self._result(task)

    def _result(self, task: Future[Any]) -> Any:
        try:
            return task.result()
        except self._died as error:
            raise MutransferError(
                f"a process that trained was ended from outside, as where memory is short: start "
                f"the same sweep again, what is finished is kept ({str(error).splitlines()[0]})"
            ) from error


def _pickled(study: Study, cloudpickle: Any) -> bytes:
    """Return a study as bytes, with what other processes cannot import by name."""
    names = {getattr(each, "__module__", None) for each in (study.build, study.train, study.task)}
    modules = [sys.modules[name] for name in names if name in sys.modules]
    foreign = [module for module in modules if not _is_importable(module.__name__)]
    for module in foreign:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(study)
    finally:
        for module in foreign:
            cloudpickle.unregister_pickle_by_value(module)
    return data


def _is_importable(name: str) -> bool:
    if name == "__main__":
        # Functions of the main module travel by value in any case.
        return True
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _begin(path: list[str]) -> None:
    """Set up a worker: its modules are found where those of the sweep are; one thread."""
    sys.path[:] = path
    torch.set_num_threads(1)


_KNOWN: dict[bytes, Models] = {}
"""The models of the study that a worker trained last."""


def _models(study: bytes) -> Models:
    if study not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[study] = Models(pickle.loads(study))
    return _KNOWN[study]


def _measured(study: bytes, runs: Sequence[Run], candidate: Candidate) -> Candidate:
    models, program = _models(study), candidate.program
    members, shared = members_of(models, runs[: program.slots])
    try:
        few = shortened(members, shared, program.slots, candidate.seconds)
        return measured(few, shared, program)
    finally:
        models.trim()


def _trained(
    study: bytes,
    runs: Sequence[Run],
    program: Program,
    judge: Judge | None,
    path: str,
    number: int,
) -> list[Row]:
    """Train a chunk in a worker, its steps counted in a file."""
    counts: Any = np.memmap(path, np.int64, "r+")

    def watch(count: int) -> None:
        counts[number] += count

    return Chunk(_models(study), runs, program).rows(watch, judge)
