"""Searches: which runs a sweep makes, batch after batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core import MutransferError
from ._budget import Limit
from ._extension import beyond
from ._run import Run
from ._runs import Runs
from ._search_checks import check_proposed
from ._search_end import SearchWarning
from ._search_stopping import Hopeless, hopeless_members
from ._store import Store
from ._study import Study


class Search(Protocol):
    """A search: it proposes the next batch of runs from the results of those before.

    A sweep that is taken up again asks for all batches from the first on, and trains what the
    record lacks. So a search keeps nothing between two calls, and draws nothing without a seed.
    """

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return the next batch of runs; none when the search is finished.

        Args:
            study: The study.
            runs: All runs of the batches before, those that failed too.
        """
        ...


@dataclass(frozen=True)
class GridSearch:
    """Every run of the study; then more rates where the best one lies at the edge.

    Args:
        extend: How many rates may be added beyond either end of the grid.
    """

    extend: int = 0

    def __post_init__(self) -> None:
        if self.extend < 0:
            raise MutransferError(f"extend is {self.extend}: it cannot be negative")

    def propose(self, study: Study, runs: Runs) -> list[Run]:
        """Return all runs of the study, then two rates at each edge with an optimum."""
        return beyond(study, runs, self.extend) if runs.rows else study.runs()


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A batch of runs that train before the next is asked for.

    Attributes:
        runs: The runs.
        finished: All runs of the batches before.
        metric: Metric that the search compares; None where it does not say.
    """

    runs: list[Run]
    finished: Runs
    metric: str | None

    def judge(self, members: Sequence[Run], steps: int) -> Hopeless | None:
        """Return what stops hopeless members of the batch; None where nothing may.

        Runs stop for a search that compares their mean loss and says so by an attribute `metric`.
        What is decided depends on the batches before alone, so that a sweep that is taken up again
        stops the same.

        Args:
            members: Some runs of the batch, which train together.
            steps: Number of steps of each.
        """
        if self.metric != "mean":
            return None
        return hopeless_members(members, steps, self.finished)


def batches(
    search: Search, study: Study, store: Store, budget: Limit | None = None
) -> Iterator[Batch]:
    """Yield the batches of a search.

    Each has to be in the record before the next is asked for.
    Their ids enter the record's list of runs. A batch that goes beyond the budget is cut, and is
    the last one.

    Args:
        search: The search.
        study: The study.
        store: Its record.
        budget: Most that all batches may cost, also where their runs are in the record already.

    Raises:
        MutransferError: the budget pays for no run, or the search proposes something else than runs
            of the study.
    """
    known: dict[str, Run] = {}
    spent, is_left = 0.0, True
    while is_left:
        done = _done(store, known)
        asked = check_proposed(type(search).__name__, search.propose(study, done), study)
        proposed = {study.run_id(run): run for run in asked}
        new = {name: run for name, run in proposed.items() if name not in known}
        if budget is not None:
            costs = budget.costs(study, list(new.values()))
            within = [spent + cost <= budget.amount for cost in costs]
            is_left = all(within)
            if not is_left:
                if not known and not any(within):
                    raise MutransferError(
                        f"the budget of {budget.amount:g} pays for no run, as the first one costs "
                        f"{costs[0]:g}: give more"
                    )
                _warn_of_cut(search, budget, within.count(False))
            spent += costs[-1] if costs else 0.0
            new = {name: run for (name, run), fits in zip(new.items(), within, strict=True) if fits}
        if not new:
            return
        store.add({name: str(run.size) for name, run in new.items()})
        known |= new
        yield Batch(runs=list(new.values()), finished=done, metric=getattr(search, "metric", None))


def _warn_of_cut(search: Search, budget: Limit, wanted: int) -> None:
    """Warn where a budget ends a search that was to find intervals."""
    within = getattr(search, "within", None)
    if within is not None:
        warnings.warn(
            f"intervals are wider than ±{within:g} in part: the budget of {budget.amount:g} ended "
            f"the search, which wanted at least {wanted} more runs; a larger one goes on from here",
            SearchWarning,
            stacklevel=2,
        )


def _done(store: Store, known: dict[str, Run]) -> Runs:
    """Return these runs of the record, in this order."""
    record = Runs.read(store.folder)
    rows = {row["id"]: row for row in record.rows}
    return Runs(header=record.header, rows=[rows[name] for name in known])
