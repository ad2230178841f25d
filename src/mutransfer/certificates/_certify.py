"""Certificates from a record: what to use at a target size, how sure, or why not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core import MutransferError
from ..studies import Runs
from ._choice import Choice, choice
from ._evidence import Evidence, Record, check_enough, gather
from ._extra_steps import extra_steps
from ._findings import findings
from ._law import Law, law
from ._refusals import check, warnings
from ._regret import expected, summed, target_regrets
from ._scales import scale_along
from ._transfer import Refusal, Transfer
from ._transfers import Transfers


def transfer(
    runs: Runs, at: Mapping[str, float] | None = None, over: str | None = None
) -> Transfers:
    """Return the certificate of every rule: what to use at a target size.

    Each has intervals, the regret to be expected with its bound, the evidence, and every reason to
    doubt it. Where the record does not show what to use, the rule has a refusal in its place, with
    what to run next. Of a table from elsewhere, sizes without an optimum are left out as long as
    enough remain.

    Where several hyperparameters were swept, each is looked at along its own slice, and
    `hyperparameters` of the result has all of them.

    Args:
        runs: The record of a sweep, or the runs of a table.
        at: Size to predict for, such as {"width": 8192}; other axes stay at the largest size.
        over: One hyperparameter to look at alone; the learning rate and all others by default.

    Raises:
        MutransferError: the record is empty or compares what is no loss, the target has an unknown
            axis or a size that is not positive, or the hyperparameter was not swept.
    """
    if not runs.rules:
        raise MutransferError("the record is empty: run the sweep first")
    runs.check_comparable()
    # Sizes are whole numbers, also those that the command line reads as 1e9.
    target = {
        axis: int(size) if float(size).is_integer() else size for axis, size in (at or {}).items()
    }
    _check_target(runs, target)
    if over is not None:
        if over not in runs.hyperparameters:
            swept = ", ".join(runs.hyperparameters)
            raise MutransferError(f"the record did not sweep {over!r}: it has {swept}")
        return _along(runs, target, over)
    first, *rest = _names(runs)
    others = tuple(_along(runs, target, name) for name in rest)
    found = _along(runs, target, first)
    outcomes = tuple(_joined(outcome, others) for outcome in found.outcomes)
    return replace(found, outcomes=outcomes, others=others)


def _names(runs: Runs) -> list[str]:
    """Return the hyperparameters that vary, the learning rate first; all if none does."""
    names = [
        name
        for name in runs.hyperparameters
        if len({row[name] for row in runs.rows if name in row}) > 1
    ]
    return sorted(names or runs.hyperparameters, key=lambda name: name != "lr")


def _along(runs: Runs, target: Mapping[str, float], over: str) -> Transfers:
    kind = scale_along(runs, over)
    outcomes = tuple(_outcome(runs, rule, target, over, kind) for rule in runs.rules)
    return Transfers(runs=runs, outcomes=outcomes, over=over)


def _joined(
    outcome: Transfer | Choice | Refusal, others: Sequence[Transfers]
) -> Transfer | Choice | Refusal:
    """Return an outcome with what was found for the other hyperparameters."""
    if isinstance(outcome, Refusal):
        return outcome
    values: dict[str, Any] = {}
    intervals: dict[str, tuple[float, float]] = {}
    regrets = []
    warnings = list(outcome.warnings)
    for transfers in others:
        found = transfers[outcome.rule]
        if isinstance(found, Refusal):
            warnings.append(f"{transfers.over} is not known: {found.reason}")
            continue
        values[transfers.over] = found.value
        if isinstance(found, Transfer):
            intervals |= found.intervals
            regrets.append(found.regret)
        # What all hyperparameters share, such as few seeds, is said once.
        own = [warning for warning in found.warnings if warning not in warnings]
        warnings += [f"{transfers.over}: {warning}" for warning in own]
    joined = replace(outcome, others=values, warnings=tuple(warnings))
    if isinstance(joined, Transfer):
        return replace(joined, other_intervals=intervals, regret=summed([joined.regret, *regrets]))
    return joined


def _check_target(runs: Runs, target: Mapping[str, float]) -> None:
    axes = dict.fromkeys(axis for rule in runs.rules for size in runs.sizes(rule) for axis in size)
    if unknown := target.keys() - axes.keys():
        raise MutransferError(
            f"target has {', '.join(sorted(unknown))}: it takes {' and '.join(axes)}"
        )
    for axis, value in target.items():
        if not 0 < value < math.inf or (axis in ("width", "depth") and value < 1):
            raise MutransferError(f"target {axis} is {value}: give a size of at least 1")


def _outcome(
    runs: Runs, rule: str, target: Mapping[str, Any], over: str, kind: str
) -> Transfer | Choice | Refusal:
    at = max(runs.sizes(rule)).grown(**target)
    evidence: Evidence | None = None
    try:
        if kind == "choice":
            return choice(runs, rule, over, target)
        evidence = gather(Record(runs=runs, rule=rule, over=over, scale=kind))
        check_enough(evidence)
        found = law(evidence, target)
        check(found)
        return _certified(found)
    except MutransferError as error:
        return Refusal(
            rule=rule,
            reason=str(error),
            at=at,
            over=over,
            optima=evidence.optima if evidence else (),
            warnings=evidence.warnings if evidence else (),
        )


def _certified(law: Law) -> Transfer:
    """Return the certificate of a rule whose target is within reach."""
    evidence, record = law.evidence, law.evidence.record
    regrets = target_regrets(evidence.posteriors[law.nearest], law.place.value, law.draws)
    regret = expected(regrets)
    found = findings(evidence)
    first, last = evidence.optima[0], evidence.optima[-1]
    return Transfer(
        rule=record.rule,
        at=law.at,
        optima=evidence.optima,
        drift=law.drift,
        verdicts=law.verdicts,
        laws=law.shares,
        scatter=law.scatter,
        bands={axis: law.band(axis) for axis in law.drift},
        total=last.position - first.position,
        place=law.place,
        regret=regret,
        extra_steps=extra_steps(
            record.runs,
            record.rule,
            evidence.sizes[law.nearest],
            regret.value,
            regrets,
            record.over,
        ),
        proxies=found.proxies,
        fast=found.fast,
        versus=found.versus,
        warnings=(*evidence.warnings, *warnings(law)),
        over=record.over,
        scale=record.scale,
    )
