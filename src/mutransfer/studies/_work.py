"""Jobs, and the worker that does them: it builds, plans, applies and trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..training import Interrupted, Judge, Program, Watch
from ._chunks import Chunk
from ._failures import Failure
from ._live import Beat
from ._models import Models
from ._own_loop import OwnRun
from ._pickled import unpickled
from ._run import Run
from ._store import Row


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Runs that one worker trains: a picklable value without tensors.

    Attributes:
        name: Its name among the jobs of the sweep.
        size: Size of the runs in words.
        runs: The runs.
        steps: Optimizer steps of all runs together.
        program: The program that trains them; None for a training function of one's own.
        device: Where they train; by default where the models are.
        judge: Names runs that are not worth going on.
        folder: Folder of the record.
        live: Folder of the signs of life.
        sweep: The id of the sweep in them.
    """

    name: str
    size: str
    runs: tuple[Run, ...]
    steps: int
    program: Program | None
    device: str | None
    judge: Judge | None
    folder: Path
    live: Path
    sweep: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Rows and failure that a worker sends back.

    Attributes:
        rows: The rows of runs that are through, those that failed too.
        failure: Why the job failed as a whole, None where it did not.
    """

    rows: Sequence[Row] = ()
    failure: Failure | None = None


def do(job: Job, models: Models, watch: Watch | None) -> Outcome:
    """Train the runs of a job. Whatever fails is returned, not raised."""
    try:
        if job.program is None:
            return Outcome(rows=[OwnRun(models, run, job.folder, watch).row() for run in job.runs])
        sound, failed = _built(models, job.runs)
        rows: list[Row] = []
        if sound:
            rows = Chunk(models, sound, job.program, job.device).rows(watch, job.judge)
        return Outcome(rows=[*rows, *failed])
    except Interrupted:
        return Outcome()
    except Exception as error:
        return Outcome(failure=Failure.of(error))


def _built(models: Models, runs: Sequence[Run]) -> tuple[list[Run], list[Row]]:
    """Return the runs whose models can be built, and the rows of the others."""
    try:
        models.members(runs)
    except Exception:
        sound, failed = [], []
        for run in runs:
            try:
                models.members([run])
            except Exception as error:
                failed.append(Failure.of(error).row(models.study, run))
            else:
                sound.append(run)
        return sound, failed
    return list(runs), []


_KNOWN: dict[bytes, Models] = {}
"""The models of the study that a worker trained last."""


def models_of(study: bytes, path: tuple[str, ...]) -> Models:
    """Return the models of a pickled study, those of the last job if they fit."""
    if study not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[study] = Models(unpickled(study, path))
    return _KNOWN[study]


def work(study: bytes, path: tuple[str, ...], job: Job) -> Outcome:
    """Do a job in a process of its own, with signs of life in the record's folder.

    Args:
        study: What `pickled` made of the study.
        path: Where the coordinator finds its modules.
        job: The job.
    """
    about = {"size": job.size, "runs": len(job.runs), "steps": job.steps, "sweep": job.sweep}
    with Beat(job.live, job.name, about) as beat:

        def watch(count: int) -> None:
            beat.count(count)
            if beat.is_stopped:
                raise Interrupted

        try:
            models = models_of(study, path)
        except Exception as error:
            return Outcome(failure=Failure.of(error))
        return do(job, models, watch)
