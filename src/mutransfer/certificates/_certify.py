"""Transfer from a record: drift, regret, and what to use at a target size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size, varying
from ..statistics import Array, estimate
from ..studies import Runs
from ._choice import Choice, choice
from ._drift import are_separate, axis_warnings, cost_warnings, slopes
from ._grids import Grid, grid
from ._metric import check_metric
from ._optimum import EXTEND, FEW_SEEDS, FEWEST_VALUES, Optimum, optimum, spread
from ._regret import regret
from ._scales import positions, scale_along, unit
from ._transfer import Refusal, Transfer
from ._transfers import Transfers

_NAMED = 3
"""Most sizes that a warning names with their reasons."""


def transfer(
    runs: Runs, at: Mapping[str, float] | None = None, over: str | None = None
) -> Transfers:
    """Return the transfer of every rule, with the values to use at a target size.

    Where the record does not show a transfer, the rule has a refusal in its place. Reasons are an
    optimum at the edge of the grid, axes that only vary together, or an axis of the target along
    which the sizes do not vary. Of a table from elsewhere, sizes without an optimum are left out as
    long as enough remain.

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
    check_metric(runs)
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
    """Return an outcome with the values that were found for the other hyperparameters."""
    if isinstance(outcome, Refusal):
        return outcome
    values: dict[str, Any] = {}
    warnings = list(outcome.warnings)
    for transfers in others:
        found = transfers[outcome.rule]
        if isinstance(found, Refusal):
            warnings.append(f"{transfers.over} is not known: {found.reason}")
        else:
            values[transfers.over] = found.value
            # What all hyperparameters share, such as few seeds, is said once.
            own = [warning for warning in found.warnings if warning not in warnings]
            warnings += [f"{transfers.over}: {warning}" for warning in own]
    return replace(outcome, others=values, warnings=tuple(warnings))


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
    try:
        if kind == "choice":
            return choice(runs, rule, over, target)
        return _certified(_Record(runs=runs, rule=rule, over=over, scale=kind), target)
    except MutransferError as error:
        return Refusal(rule=rule, reason=str(error), over=over)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Record:
    """The runs of one rule along one hyperparameter.

    Attributes:
        runs: The record.
        rule: The rule.
        over: The hyperparameter.
        scale: Its scale.
    """

    runs: Runs
    rule: str
    over: str
    scale: str

    @property
    def is_foreign(self) -> bool:
        """True for a table from elsewhere, whose runs cannot simply be completed."""
        return "table" in self.runs.header


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """Optima of a rule.

    Attributes:
        grids: The grids of the sizes that have an optimum, from small to large.
        streams: The random sequence of each.
        optima: Their optima.
        samples: Their bootstrap samples.
        warnings: What was left out, and intervals that are assumptions.
    """

    grids: tuple[Grid, ...]
    streams: tuple[int, ...]
    optima: tuple[Optimum, ...]
    samples: Float[Array, "resamples sizes"]
    warnings: tuple[str, ...]


def _certified(record: _Record, target: Mapping[str, Any]) -> Transfer:
    """Return the transfer of one rule.

    Raises:
        MutransferError: the record does not show it.
    """
    found = _optima(record)
    sizes = [best.size for best in found.optima]
    centre, samples = np.array([best.position for best in found.optima]), found.samples
    axes = varying(sizes)
    drifts, sample_drifts = slopes(sizes, axes, centre), slopes(sizes, axes, samples)
    drift = {axis: estimate(drifts[i], sample_drifts[..., i]) for i, axis in enumerate(axes)}
    aim = _aim(sizes[-1], axes, target)
    doublings = np.array([math.log2(aim[axis] / sizes[-1][axis]) for axis in axes])
    largest = found.grids[-1]
    places = positions(largest.values, record.scale)
    cost = regret(places, largest.losses, centre[0], samples[..., 0], found.streams[-1])
    total = float(centre[-1] - centre[0])
    # An octave is what tells two rates apart; on a linear scale a step of the grid is.
    step = 1.0 if record.scale == "log2" else float(np.median(np.diff(places)))
    warnings = [
        *found.warnings,
        *([f"one size only, {sizes[0]}, which says nothing of others"] if not axes else []),
        *axis_warnings(sizes, drift, doublings, record.scale, step),
        *cost_warnings(total, cost, record.scale, step),
    ]
    there = centre[-1] + drifts @ doublings, samples[..., -1] + sample_drifts @ doublings
    return Transfer(
        rule=record.rule,
        optima=found.optima,
        drift=drift,
        total=total,
        regret=cost,
        target=aim,
        rate=estimate(*there),
        warnings=tuple(warnings),
        over=record.over,
        scale=record.scale,
    )


def _optima(record: _Record) -> _Found:
    """Return the optima of all sizes, or of those that have one in a foreign table."""
    grids: list[Grid] = []
    failures: dict[Size, MutransferError] = {}
    for size in record.runs.sizes(record.rule):
        try:
            grids.append(grid(record.runs, record.rule, size, record.over))
        except MutransferError as error:
            _leave_out(record, failures, size, error)
    paired = len({cells.seeds for cells in grids}) == 1
    results = []
    for number, cells in enumerate(grids):
        stream = 0 if paired else number + 1
        try:
            results.append((cells, stream, *_optimum(record, cells, stream)))
        except MutransferError as error:
            _leave_out(record, failures, cells.size, error)
    if not results:
        raise next(iter(failures.values()))
    kept, streams, optima, samples = zip(*results, strict=True)
    _check_enough(record, [best.size for best in optima], failures)
    notes = [cells.note for cells in kept if cells.note]
    if not paired:
        notes.append("sizes have different seeds, which are taken as independent")
    return _Found(
        grids=kept,
        streams=streams,
        optima=optima,
        samples=np.stack(samples, axis=-1),
        warnings=(*_left_out(failures), *_shortened(notes), *_few_seeds(record, kept)),
    )


def _optimum(record: _Record, cells: Grid, stream: int) -> tuple[Optimum, Float[Array, " n"]]:
    if len(cells.values) < FEWEST_VALUES and len(record.runs.hyperparameters) > 1:
        raise MutransferError(
            f"rule {record.rule!r} at {cells.size} was run at {len(cells.values)} values of "
            f"{record.over} with the other hyperparameters held, as points drawn at random are: "
            "an optimum needs at least 3; sweep a grid, or one hyperparameter at a time"
        )
    return optimum(
        record.rule,
        cells.size,
        cells.values,
        cells.losses,
        over=record.over,
        scale=record.scale,
        stream=stream,
        # A sweep adds rates alone.
        extend="" if record.is_foreign or record.over != "lr" else EXTEND,
    )


def _leave_out(
    record: _Record, failures: dict[Size, MutransferError], size: Size, error: MutransferError
) -> None:
    """Note why a size has no optimum; raise where the sweep can be run again."""
    if not record.is_foreign:
        raise error
    failures[size] = error


def _check_enough(
    record: _Record, sizes: Sequence[Size], failures: Mapping[Size, MutransferError]
) -> None:
    """Raise if the sizes that are left show fewer axes than all of them."""
    if not failures:
        return
    everywhere = varying(record.runs.sizes(record.rule))
    if are_separate(record.runs.sizes(record.rule), everywhere) and not (
        varying(sizes) == everywhere and are_separate(sizes, everywhere)
    ):
        raise MutransferError(
            f"rule {record.rule!r}: too few sizes have an optimum to see {' and '.join(everywhere)}"
            f" apart: {'; '.join(_left_out(failures))}"
        )


def _left_out(failures: Mapping[Size, MutransferError]) -> list[str]:
    """Return a sentence on the sizes without an optimum."""
    if not failures:
        return []
    # The message of a size begins with rule and size, which the sentence says already.
    reasons = [str(error).partition(": ")[2] or str(error) for error in failures.values()]
    named = [f"{size} ({why})" for size, why in list(zip(failures, reasons, strict=True))[:_NAMED]]
    more = f" and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    count = "one size is" if len(failures) == 1 else f"{len(failures)} sizes are"
    return [f"{count} left out, without an optimum: {', '.join(named)}{more}"]


def _shortened(notes: Sequence[str]) -> list[str]:
    """Return the first notes, and how many more there are."""
    more = len(notes) - _NAMED
    return [*notes[:_NAMED], *([f"and {more} more of this kind"] if more > 0 else [])]


def _few_seeds(record: _Record, grids: Sequence[Grid]) -> list[str]:
    """Return a warning where the seeds are too few for an interval of their own."""
    few = [cells for cells in grids if len(cells.seeds) <= FEW_SEEDS]
    if not few:
        return []
    fewest = min(len(cells.seeds) for cells in few)
    sd = max(spread(cells.values, len(cells.seeds), record.scale) for cells in few)
    name = "one seed" if fewest == 1 else f"{fewest} seeds"
    where = "" if len(few) == len(grids) else f" at {len(few)} of {len(grids)} sizes"
    return [
        f"{name}{where} cannot show how far the optimum moves from seed to seed: intervals assume "
        f"a standard deviation of {sd:.2g} {unit(record.scale)}; run 3 seeds or more"
    ]


def _aim(largest: Size, axes: Sequence[str], target: Mapping[str, Any]) -> Size:
    """Return the target with the largest size along all other axes."""
    aim = largest.grown(**target)
    for axis in aim:
        if aim[axis] != largest[axis] and axis not in axes:
            raise MutransferError(
                f"the sweep has one {axis} only, {largest[axis]}, "
                f"and says nothing of {axis} {aim[axis]}"
            )
    return aim
