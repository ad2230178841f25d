"""The sweep: trains what the record lacks, and never again what it has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..core import MutransferError, OnProgress, Progress, about
from ..training import Watch
from ._chunks import Chunk, chunks
from ._extension import beyond
from ._fingerprint import fingerprint
from ._models import Models
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._store import Store
from ._study import Study

_PAUSE = 0.2
"""Seconds between two calls of a progress callback."""


def sweep(
    study: Study, out: str | Path, *, extend: int = 0, progress: OnProgress | None = None
) -> Runs:
    """Train every run of the study that the record lacks, and return them all.

    The runs of one size are one vectorised program and enter the record together. A killed sweep
    that is started again finishes with the rows of an undisturbed one, and repeats no finished
    work.

    Args:
        study: What to run.
        out: Folder of the record; made, or taken up where it stands.
        extend: How many rates to add beyond either end of the grid, where an optimum lies at its
            edge.
        progress: Receives progress in seconds of training as estimated beforehand, several times a
            second; its result is the `Runs` so far.

    Raises:
        MutransferError: the folder was written by another study or with another model, or cannot
            be written; base and sizes do not fit the rule; extend is negative.
    """
    if extend < 0:
        raise MutransferError(f"extend is {extend}: it cannot be negative")
    store = Store(out)
    models, wanted = Models(study), study.runs()
    store.open(study.identity(), about(), partial(fingerprint, models))
    _check_rules(study, store)
    while wanted:
        _finish(models, store, wanted, progress)
        wanted = beyond(study, _record(study, store), extend)
    return _record(study, store)


def missing(study: Study, out: str | Path) -> list[Run]:
    """Return the runs of the study that the record in this folder lacks."""
    store = Store(out)
    done = {row["id"] for row in store.rows()} if (store.folder / "study.json").exists() else set()
    return [run for run in study.runs() if study.run_id(run) not in done]


def estimate(study: Study, runs: Sequence[Run]) -> float:
    """Return the seconds that training these runs will take on this machine.

    A few steps of each shape are timed.
    """
    return sum(chunk.seconds() for chunk in chunks(Models(study), runs))


def _check_rules(study: Study, store: Store) -> None:
    """Raise where the record has runs of another rule under a custom rule's name."""
    custom = {rule.name for rule in study.custom_rules()}
    for row in store.rows() if custom else ():
        if row["rule"] in custom and row["id"] != study.run_id(Run.of(row)):
            raise MutransferError(
                f"{store.folder} has runs of another rule named {row['rule']!r}: rename the custom "
                "one, as by dataclasses.replace(rule, name=...), or give another folder with out="
            )


def _record(study: Study, store: Store) -> Runs:
    """Return the study's finished runs.

    A rate is left out while some of its seeds are lost to a crash.
    """
    rules, sizes = {rule_name(rule) for rule in study.rules}, set(study.sizes())
    runs = [(Run.of(row), row) for row in store.rows()]
    known = [
        (run, row)
        for run, row in runs
        if run.rule in rules and run.seed in study.seeds and run.size in sizes
    ]
    seeds = Counter((run.rule, run.size, run.lr) for run, _ in known)
    whole = [row for run, row in known if seeds[run.rule, run.size, run.lr] >= len(study.seeds)]
    return Runs(header=store.header(), rows=whole)


def _finish(
    models: Models, store: Store, wanted: Sequence[Run], progress: OnProgress | None
) -> None:
    """Train the chunks of these runs that are not in the record."""
    study = models.study
    done = {row["id"] for row in store.rows()}
    left = [
        chunk
        for chunk in chunks(models, wanted)
        if any(study.run_id(run) not in done for run in chunk.runs)
    ]
    costs = [0.0 if progress is None else chunk.seconds() for chunk in left]
    start = time.monotonic()
    for number, chunk in enumerate(left):
        watch = None
        if progress is not None:
            runs = _record(study, store)
            watch = _watch(chunk, costs, number, start, runs, progress)
        rows = chunk.rows(watch)
        store.append(row for row in rows if row["id"] not in done)
    if progress is not None and left:
        total, elapsed = sum(costs), time.monotonic() - start
        what, runs = str(left[-1].size), _record(study, store)
        progress(Progress(what=what, done=total, total=total, elapsed=elapsed, result=runs))


def _watch(
    chunk: Chunk,
    costs: Sequence[float],
    number: int,
    start: float,
    runs: Runs,
    progress: OnProgress,
) -> Watch:
    """Return a callback that turns the steps of one chunk into progress of the sweep."""
    steps, last = 0, 0.0

    def watch(_: int) -> None:
        nonlocal steps, last
        steps, now = steps + 1, time.monotonic()
        if now - last > _PAUSE:
            last = now
            done = sum(costs[:number]) + costs[number] * steps / chunk.study.steps
            progress(
                Progress(
                    what=str(chunk.size),
                    done=done,
                    total=sum(costs),
                    elapsed=now - start,
                    result=runs,
                )
            )

    return watch
