"""The sweep: trains what the record lacks, and never again what it has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..core import MutransferError, OnProgress, Progress, Size, about
from ._axis_check import check_axes
from ._budget import Budget, as_budget
from ._budget_fit import Fit
from ._budget_prices import Prices
from ._chunks import rule_data
from ._device import check_device
from ._fingerprint import fingerprint, model_name
from ._jobs import finish
from ._models import Models
from ._own_loop import OwnRun
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._same import Fingerprint
from ._search import Batch, GridSearch, Search, batches
from ._searches import search_of
from ._store import Row, Store
from ._study import Study
from ._swept import header
from ._trackers import Tracked, Tracker


def sweep(
    study: Study,
    out: str | Path,
    *,
    extend: int = 0,
    search: str | Search = "grid",
    within: float | None = None,
    budget: Fit | Budget | float | str | None = None,
    device: str | None = None,
    progress: OnProgress | None = None,
    tracker: Tracker | None = None,
) -> Runs:
    """Train every run that the search wants and the record lacks, and return them all.

    The runs of one shape are vectorised programs, compiled where that pays and in several processes
    where they are quicker. A few steps of each are measured, and the choice is recorded. In a
    training function of one's own runs train one after the other. A killed sweep that is started
    again finishes with the rows of an undisturbed one, and repeats no finished work. Runs that
    failed are tried again.

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
        device: Where models train, such as "cuda"; by default where the builder puts them.
        progress: Receives progress in seconds of training as estimated beforehand, several times a
            second; its result is the `Runs` so far. In a training function of one's own it comes
            after every run, with the time that the runs so far took.
        tracker: Gets every run as it enters the record.

    Raises:
        MutransferError: the folder was written with another model under the same name, or cannot
            be written; base and sizes do not fit the rule; an axis changes no shape; the model does
            not fit the task; the search or the device is unknown, or an argument is not for it.
    """
    check_device(device)
    if isinstance(budget, Fit):
        budget.keep(out)
        study, search = budget.study(study), budget.search or search
        budget = budget.budget
    chosen, most = search_of(search, extend, within), as_budget(budget)
    store = Store(out) if tracker is None else Tracked(out, tracker, _names(study))
    models = Models(study)
    limit = None if most is None else Prices(most, models, store, device)
    _check_rules(study, store)
    _open(study, store, models, chosen)
    follow = Counter[Size]()
    if not isinstance(chosen, GridSearch):
        follow.update(run.size for run in study.runs())
    for batch in batches(chosen, study, store, limit):
        _finish(models, store, batch, follow, device, progress)
    return _record(study, store)


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


def _done(store: Store) -> set[str]:
    """Return the ids of all runs that need not be trained again."""
    return {row["id"] for row in store.rows() if row.get("status") != "failed"}


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


def _finish(
    models: Models,
    store: Store,
    batch: Batch,
    follow: Mapping[Size, int],
    device: str | None,
    progress: OnProgress | None,
) -> None:
    """Train the runs of a batch that are not in the record."""
    study = models.study
    if study.train is not None:
        _finish_one_by_one(models, store, batch.runs, progress)
        return
    finish(
        models,
        store,
        batch.runs,
        device=device,
        follow=follow,
        make_judge=lambda runs: batch.judge(runs, study.length(runs[0])),
        progress=progress,
        record=lambda: _record(study, store),
    )


def _finish_one_by_one(
    models: Models, store: Store, wanted: Sequence[Run], progress: OnProgress | None
) -> None:
    """Train the runs that are not in the record in the study's own function."""
    done, start = _done(store), time.monotonic()
    left = [run for run in wanted if models.study.run_id(run) not in done]
    for number, run in enumerate(left):
        store.append([OwnRun(models, run, store.folder).row()])
        if progress is not None:
            elapsed, runs = time.monotonic() - start, _record(models.study, store)
            total = elapsed * len(left) / (number + 1)
            what = str(run.size)
            progress(Progress(what=what, done=elapsed, total=total, elapsed=elapsed, result=runs))
