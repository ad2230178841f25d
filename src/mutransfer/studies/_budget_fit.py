"""Fit: a study that a budget can pay, proposed before anything is trained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import FrozenDict, MutransferError, Result, frozen, parsed, parsing, plain
from ._budget import UNITS, Budget, as_budget
from ._budget_prices import Prices
from ._budget_record import Decisions, Pace
from ._budget_sacrifices import Candidate, differences, fitted, smallest
from ._device import check_device
from ._models import Models
from ._search import Search
from ._store import Store
from ._study import Study

_PLACES, _AGAIN, _LEAST = 6, 5, 2
"""Runs of a refinement by hyperparameter: with the first seed, and with each further one.

On the first study of the demo, with three seeds, it took 11 to 18 runs, 16 on average. With a third
of the grid's it had the same optima, with wider intervals: two runs with each further seed do.
"""

_AT_ONCE = 1.5
"""Runs of a size that a refinement proposes at once for each rule, on average there."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Fit(Result):
    """A proposal: what a study gives up so that a budget can pay it.

    Attributes:
        budget: The budget.
        search: Name of the search that is proposed; None for a search of one's own, which the
            budget ends wherever it stands.
        changes: Arguments of the study that change, each with the value that was asked for and the
            one that is proposed.
        asked_runs, asked_cost: Runs of the study that was asked for, and their cost in the unit of
            the budget.
        runs, cost: The same of the proposal. Of "refine" it is what is expected.
        paces: Measured paces by the key of the shape, where the budget is a time.
        key: A hash of what was asked for, by which the record knows the proposal.
    """

    budget: Budget
    search: str | None
    changes: Mapping[str, tuple[Any, Any]]
    asked_runs: int
    asked_cost: float
    runs: int
    cost: float
    paces: Mapping[str, Pace] = FrozenDict()
    key: str = ""

    def study(self, asked: Study) -> Study:
        """Return the proposed study.

        Args:
            asked: The study that was asked for.
        """
        return replace(asked, **{name: proposed for name, (_, proposed) in self.changes.items()})

    def keep(self, out: str | Path) -> None:
        """Write the proposal into the folder of a record, where `fit` finds it again."""
        decisions = Decisions(out)
        decisions.add_paces(self.paces)
        decisions.add_proposal(self.key, self.to_json())

    def __str__(self) -> str:
        says = self.budget.says
        # A cost in runs is their number.
        asked, cost = (
            f"{runs} runs" if self.budget.unit == "runs" else f"{runs} runs, {says(cost)}"
            for runs, cost in ((self.asked_runs, self.asked_cost), (self.runs, self.cost))
        )
        lines = [f"asked:    {asked}", f"budget:   {self.budget}"]
        if self.search == "refine" and self.runs != self.asked_runs:
            lines.append("search:   refine, few runs that close in on each optimum")
        for name, (before, after) in self.changes.items():
            note = ", and best rates move with it" if name == "steps" else ""
            lines.append(f"{f'{name}:':<10}{_shown(before)} -> {_shown(after)}{note}")
        if self.search is None:
            lines.append("proposal: nothing is changed, and the budget ends the search")
        elif not self.changes and self.runs == self.asked_runs:
            lines.append("proposal: nothing is changed, as all of it fits")
        else:
            about = "about " if self.search == "refine" else ""
            lines.append(f"proposal: {about}{cost}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the proposal as data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Fit:
        """Return the proposal that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a proposal written by Fit.to_json"):
            known = dict(parsed(data))
            return cls(
                **known
                | {
                    "budget": Budget(**known["budget"]),
                    "changes": FrozenDict(
                        {name: (frozen(a), frozen(b)) for name, (a, b) in known["changes"].items()}
                    ),
                    "paces": FrozenDict({key: Pace(**p) for key, p in known["paces"].items()}),
                }
            )


def fit(
    study: Study,
    budget: Budget | float | str,
    out: str | Path | None = None,
    *,
    search: str | Search | None = None,
    device: str | None = None,
) -> Fit:
    r"""Propose a study that a budget can pay.

    Nothing is trained but a few measured steps.

    The first of these that fits is proposed, and what was given up before the last step is taken
    back where the budget still pays it:

    1. The study as it is.
    2. `search="refine"`, where the search is left open and that is cheaper: the same optima from
       fewer runs. In time it is not always: the runs of a grid train side by side, and small
       networks hardly take longer than a few of them.
    3. Fewer seeds, at least two: with one there is no spread.
    4. Of a full grid every second value, down to an octave and five values: its optimum is the
       vertex of a parabola, which needs few places.
    5. The largest size of the axis whose cut saves most, down to three a side. Small sizes are
       cheap, and three show a drift with its error; the interval at a target gets wider, and says
       so.
    6. Fewer steps, at least half of them and 50. They come last because they bias the answer: best
       rates fall by about :math:`T^{-1/3}` with the number of steps, and no interval shows it.

    Args:
        study: The study that is asked for.
        budget: A number of runs, a `Budget`, or a text such as "10m", "40runs" or "1e15" (FLOPs).
        out: Folder of a record; a proposal that was accepted there is proposed again, so that a
            sweep that is taken up again trains the same study.
        search: "grid" or "refine" to keep that search; None to leave it open. A search of one's own
            is not changed, as nobody knows how many runs it makes.
        device: Where models train.

    Raises:
        MutransferError: the budget is too small for anything sensible; the message has the smallest
            one. Or the study trains in a function of its own, and the budget is no number of runs
            or steps.
    """
    check_device(device)
    limit = as_budget(budget)
    if limit is None or not isinstance(limit.unit, str):
        raise MutransferError(f"fit takes a budget in {', '.join(UNITS)}, and not of a function")
    key = _key(study, limit, search)
    kept = None if out is None else Decisions(out).proposal(key)
    if kept is not None:
        return Fit.from_json(kept)
    store = None if out is None or not Path(out, "study.json").exists() else Store(out)
    pricing = _Pricing(study, Prices(limit, Models(study), store, device))
    known = search if isinstance(search, str) else None
    asked = Candidate(study, known or ("grid" if search is None else None))
    proposed = asked
    if asked.search is not None:
        found = fitted(asked, limit.amount, pricing.least, is_free=search is None)
        if found is None:
            least = smallest(asked, pricing.least, is_free=search is None)
            raise _too_small(limit, asked, least, pricing)
        proposed = found
    runs, cost = pricing.runs(proposed), pricing.cost(proposed)
    if proposed.search == "refine" and cost > limit.amount:
        runs, cost = int(runs * limit.amount / cost), limit.amount
    return Fit(
        budget=limit,
        search=proposed.search,
        changes=FrozenDict(differences(study, proposed.study)),
        asked_runs=len(study.runs()),
        asked_cost=pricing.cost(Candidate(study, "grid")),
        runs=runs,
        cost=cost,
        paces=FrozenDict(pricing.prices.paces(proposed.study, proposed.study.runs())),
        key=key,
    )


class _Pricing:
    """Number of runs and cost of candidates."""

    def __init__(self, study: Study, prices: Prices) -> None:
        self.asked, self.prices = study, prices

    def runs(self, candidate: Candidate) -> int:
        """Return the number of runs, of a refinement the expected one."""
        return sum(count for count, _ in self._optima(candidate))

    def cost(self, candidate: Candidate) -> float:
        """Return the cost of all runs."""
        return sum(count * price for count, price in self._optima(candidate))

    def least(self, candidate: Candidate) -> float:
        """Return the cost of the runs without which a refinement is of no use."""
        return sum(count * price for count, price in self._optima(candidate, _LEAST))

    def _optima(self, candidate: Candidate, again: int = _AGAIN) -> list[tuple[int, float]]:
        """Return number and mean price of the runs of each rule and size."""
        study, runs = candidate.study, candidate.study.runs()
        most, together = len(runs), None
        if candidate.search == "refine":
            most, together = _expected(study, again), math.ceil(_AT_ONCE * len(study.rules))
        groups: dict[Any, list[float]] = {}
        for run, price in zip(runs, self.prices.each(study, runs, together), strict=True):
            groups.setdefault((run.rule, run.size), []).append(price)
        return [
            (min(most, len(prices)), math.fsum(prices) / len(prices)) for prices in groups.values()
        ]


def _expected(study: Study, again: int) -> int:
    """Return the expected runs of a refinement for one rule and size."""
    moved = sum(len(line) > 1 for line in study.swept.values())
    return moved * (_PLACES + again * (len(study.seeds) - 1))


def _too_small(
    budget: Budget, asked: Candidate, last: Candidate, pricing: _Pricing
) -> MutransferError:
    given_up = [
        f"{name} {_shown(after)}"
        for name, (_, after) in differences(asked.study, last.study).items()
    ]
    what = " and ".join([*given_up, f"search={last.search!r}"])
    return MutransferError(
        f"a budget of {budget} is too small: the study costs "
        f"{budget.says(pricing.cost(asked))}, and with {what} still "
        f"{budget.says(pricing.least(last))}; give at least "
        f"{budget.written(pricing.least(last))}, or leave out sizes or rates yourself"
    )


def _key(study: Study, budget: Budget, search: str | Search | None) -> str:
    """Return a hash of what is asked for."""
    named = search if isinstance(search, str | None) else type(search).__name__
    spec = [[study.run_id(run) for run in study.runs()], budget.to_json(), named]
    return hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:12]


def _shown(value: Any) -> str:
    """Return a value of a study in words: numbers in full, long lines by their ends."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if not isinstance(value, Sequence) or isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    texts = [_shown(each) for each in value]
    return ", ".join(texts) if len(texts) <= 8 else f"{texts[0]} to {texts[-1]} ({len(texts)})"
