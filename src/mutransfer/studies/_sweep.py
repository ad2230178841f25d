"""The sweep: trains what the record lacks, and never again what it has."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..core import MutransferError, MutransferWarning, OnProgress, Size, about
from ..engines import Engine, Executor, executor_of
from ..training import Judge
from ._axis_check import check_axes
from ._budget import Budget, as_budget
from ._budget_fit import Fit
from ._budget_prices import Prices
from ._chunks import rule_data
from ._coordinator import Coordinator
from ._device import check_device
from ._fingerprint import fingerprint, model_name
from ._interrupts import Interrupts
from ._live import Live
from ._meter import Meter
from ._metric import LengthWarning, check_lengths
from ._models import Models
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._same import Fingerprint
from ._search import Batch, GridSearch, Search, batches
from ._search_stopping import is_never_negative
from ._searches import search_of
from ._store import Row, Store
from ._study import Study
from ._swept import header
from ._trackers import Tracked, Tracker


class FailedRunsWarning(MutransferWarning):
    """Some runs of a sweep failed; the others are in the record."""


def sweep(
    study: Study,
    out: str | Path,
    *,
    extend: int = 0,
    search: str | Search = "grid",
    within: float | None = None,
    budget: Fit | Budget | float | str | None = None,
    device: str | None = None,
    engine: str | Engine | Executor = "here",
    workers: int | None = None,
    retry: str | None = None,
    progress: OnProgress | None = None,
    tracker: Tracker | None = None,
) -> Runs:
    """Train every run that the search wants and the record lacks, and return them all.

    The runs of one shape are vectorised programs, compiled where that pays and in several processes
    where they are quicker. A few steps of each are measured, and the choice is recorded. In a
    training function of one's own runs train one by one. A killed sweep that is started again
    finishes with the rows of an undisturbed one, and repeats no finished work. What failed for its
    own reason, as by a bug in the builder, has a row with the traceback, and does not stop others.
    Ctrl-C ends after the present step and keeps what is through; twice, at once.

    Args:
        study: What to run.
        out: Folder of the record; made, or taken up where it stands. Runs of another study in it
            stay, with a warning that names what differs.
        extend: How many rates to add beyond either end of the grid, where an optimum lies at its
            edge.
        search: "grid" for every run of the study; "refine" for few runs that close in on the
            optimum of each size; or a search such as `Refine(step=0.5)`, `OptunaSearch(40)`, or one
            of your own.
        within: Half width of the optimum's 95% interval at which "refine" ends, in octaves; 0.25 by
            default.
        budget: Most that the runs may cost: a number of runs, or a text such as "10m", "40runs",
            "5000steps" or "1e15" (FLOPs). The search ends there, wherever it stands. A proposal of
            `fit` changes study and search, and is kept in the record.
        device: Where models train, such as "cuda"; by default where the builder puts them, and in a
            training function of one's own on a card if there is one.
        engine: Where jobs run: "here" for this machine in the quickest way; "processes" for
            one-thread processes; "ray" or "ray:ADDRESS"; "submitit" for Slurm; or any object with
            `submit(function, *arguments)` that returns a future.
        workers: Number of jobs at once, for engines that leave it open.
        retry: "failed" to train runs that failed once more, also those that the search no longer
            asks for.
        progress: Receives progress in seconds of training as estimated beforehand, several times a
            second; its result is the `Runs` so far. In a training function of one's own times are
            those that the runs so far took.
        tracker: Gets every run as it enters the record.

    Raises:
        MutransferError: the folder was written with another model under the same name, or cannot
            be written; base and sizes do not fit the rule; an axis changes no shape; the model does
            not fit the task; the search, the device or the engine is unknown, or an argument is not
            for it; the tracker lacks a call; another sweep writes to the folder.
        KeyboardInterrupt: the user asked to end.
    """
    check_device(device)
    if retry not in (None, "failed"):
        raise MutransferError(f"retry={retry!r}: give 'failed', or nothing")
    if isinstance(budget, Fit):
        budget.keep(out)
        study, search = budget.study(study), budget.search or search
        budget = budget.budget
    chosen, most = search_of(search, extend, within), as_budget(budget)
    store = Store(out) if tracker is None else Tracked(out, tracker, _names(study))
    models = Models(study)
    limit = None if most is None else Prices(most, models, store, device)
    _check_rules(study, store)
    jobs = _executor(engine, workers, Path(out) / "jobs")
    with jobs as executor, store.lock(), Live(store.folder) as live:
        _open(study, store, models, chosen)
        live.update(engine=executor.name, workers=executor.workers)
        meter = Meter(progress, partial(_record, study, store), live)
        with Interrupts(meter.say) as interrupts:
            coordinator = Coordinator(
                models=models,
                store=store,
                executor=executor,
                device=device,
                follow=_follow(study, chosen),
                done=_done(store, retry=retry is not None),
                live=live,
                meter=meter,
                interrupts=interrupts,
            )
            for batch in batches(chosen, study, store, limit):
                coordinator.finish(batch.runs, partial(_judge, study, batch))
                interrupts.check()
            if retry is not None:
                # Once others succeeded the search may no longer ask for these.
                coordinator.finish(_failed(study, store, coordinator.done), lambda runs: None)
    runs = _record(study, store)
    _warn(runs)
    return runs


@contextmanager
def _executor(
    engine: str | Engine | Executor, workers: int | None, folder: Path
) -> Iterator[Executor]:
    """Lend an engine to a sweep; one of ours, such as a local cluster, ends with it."""
    executor = executor_of(engine, workers, folder=folder)
    if not isinstance(engine, str):
        yield executor
        return
    try:
        yield executor
    except BaseException:
        executor.close(at_once=True)
        raise
    executor.close()


def missing(study: Study, out: str | Path) -> list[Run]:
    """Return the runs of the study that the record in this folder lacks."""
    store = Store(out)
    done = _done(store) if (store.folder / "study.json").exists() else set()
    return [run for run in study.runs() if study.run_id(run) not in done]


def _names(study: Study) -> list[str]:
    """Return the columns that say what a run is."""
    settings = [*study.swept, *study.fixed]
    return ["rule", *study.base, "steps", "batch", *settings, "seed"]


def _open(study: Study, store: Store, models: Models, search: Search) -> None:
    """Create the record or take it up."""
    # The runs are added as the search proposes them.
    design = {"axes": list(study.base), **header(study), "runs": []}
    if not isinstance(search, GridSearch):
        # Readers have to know that seeds are not lost where a point has few of them.
        design["search"] = type(search).__name__
    name, first_losses = model_name(study), partial(_first_losses, models)
    store.open(study.identity(), about(), first_losses, design=design, model=name)


def _first_losses(models: Models) -> Fingerprint | None:
    """Return the fingerprint of a study whose models can be trained."""
    check_axes(models)
    return fingerprint(models)


def _done(store: Store, *, retry: bool = False) -> set[str]:
    """Return the ids of runs that need not be trained; retried ones do."""
    return {row["id"] for row in store.rows() if not (retry and row.get("status") == "failed")}


def _failed(study: Study, store: Store, done: set[str]) -> list[Run]:
    """Return the study's failed runs that were not tried again."""
    names = study.points()[0]
    failed = [row for row in _record(study, store).rows if row.get("status") == "failed"]
    runs = [(Run.of(row, study.base, names), row["id"]) for row in failed]
    # Functions have their names alone in a row, which do not train.
    return [run for run, name in runs if name not in done and study.run_id(run) == name]


def _follow(study: Study, search: Search) -> Counter[Size]:
    """Return how many runs of each size a search may still ask for, at most."""
    if isinstance(search, GridSearch):
        return Counter()
    return Counter(run.size for run in study.runs())


def _judge(study: Study, batch: Batch, runs: Sequence[Run]) -> Judge | None:
    """Return what stops hopeless ones of some runs of a batch."""
    if not is_never_negative(study.task_of(runs[0]).loss):
        return None
    return batch.judge(runs, study.length(runs[0]))


def _warn(runs: Runs) -> None:
    """Warn where runs failed, or are of unequal length."""
    failed = [row for row in runs.rows if row.get("status") == "failed"]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(runs.rows)} runs failed, the first with: "
            f"{failed[0].get('message')}; their rows have the traceback, and retry='failed' trains "
            "them again",
            FailedRunsWarning,
            stacklevel=3,
        )
    try:
        check_lengths(runs.rows, runs.size_of)
    except MutransferError as error:
        warnings.warn(str(error), LengthWarning, stacklevel=3)


def _check_rules(study: Study, store: Store) -> None:
    """Raise where the record has runs of another rule under a custom rule's name."""
    custom = {rule.name for rule in study.custom_rules()}
    if not custom or not store.is_of(study.identity()):
        return
    for row in Runs.read(store.folder).rows:
        if row["rule"] in custom and not _is_of(study, row):
            raise MutransferError(
                f"{store.folder} has runs of another rule named {row['rule']!r}: rename the custom "
                "one, as by dataclasses.replace(rule, name=...), or give another folder with out="
            )


def _is_of(study: Study, row: Row) -> bool:
    """Return True if a row is of the study's rule of this name."""
    if "rule_data" in row:
        return bool(row["rule_data"] == rule_data(study, row["rule"]))
    # Records from before that column have one hyperparameter, the rate.
    return bool(row["id"] == study.run_id(Run.of(row, study.base, study.swept)))


def _record(study: Study, store: Store) -> Runs:
    """Return the study's finished runs.

    A point is left out while some of the seeds that it is to have are lost to a crash.
    """
    rules, sizes = {rule_name(rule) for rule in study.rules}, set(study.sizes())
    record = Runs.read(store.folder)
    names = study.points()[0]
    runs = [(Run.of(row, study.base, names), row) for row in record.rows]
    known = [
        (run, row)
        for run, row in runs
        if run.rule in rules and run.seed in study.seeds and run.size in sizes
    ]
    listed = set(record.header.get("runs", ()))
    present = {row["id"] for _, row in known}
    seeds = Counter((run.rule, run.size, run.point) for run, _ in known)
    torn = {
        (rule, size, point)
        for (rule, size, point), count in seeds.items()
        if count < len(study.seeds)
        and any(
            study.run_id(Run(rule=rule, size=size, point=point, seed=seed)) in listed - present
            for seed in study.seeds
        )
    }
    whole = [row for run, row in known if (run.rule, run.size, run.point) not in torn]
    return Runs(header=record.header, rows=whole)
