"""Collapse of loss curves across sizes, where one run a size is all there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size, varying
from ..statistics import (
    FEWEST_POINTS,
    FEWEST_SIZES,
    LEAST_FALL,
    Array,
    CurveGaps,
    clearness,
    curve_gaps,
)
from ..studies import Runs
from ._collapses import ALIKE, APART, UNKNOWN, Collapse, Collapses, Gap

_LEVEL = 0.05
"""Probability of a false alarm."""

_UNSUSPICIOUS = 0.25
"""Least p-value of curves that scale alike."""

_CLOSE = 0.75
"""Octaves within which all gaps of curves that scale alike lie."""

_POWERS = {"params": 0.5}
"""Powers of size by which finite-size effects fall, where they are not 1."""

_LENGTHS = ("steps", "batch", "tokens", "context")
"""Axes along which curves are not of the same training."""

Row = dict[str, Any]
"""A row of a record."""

_OTHER = "choose another rate by lr=, or run the sizes at one"


def collapse(runs: Runs, rule: str | None = None, lr: float | None = None) -> Collapses:
    """Compare the loss curves of all sizes at one base rate.

    After "supercollapse" (2507.02119): under right scaling the curves of different sizes agree
    within the noise of seeds. There they are normalised by their last loss, which in runs of equal
    length is mostly noise; here a curve is compared early, before nine tenths of its fall are done,
    where the irreducible loss and what each size can fit count little. The curve of each size is
    compared with what the other sizes foretell by a + b / size. The gap is divided by the fall of
    the loss per doubling of training, which gives octaves of training.

    A rule does not scale alike where so clear a gap has a probability of at most 5% under right
    scaling. It scales alike where no gap stands out and all, late ones too, are within 0.75 octave.
    Else nobody can tell, and the reason is given.

    Args:
        runs: A record with loss curves, of at least one run a size.
        rule: The rule; all of the record by default.
        lr: The base rate. By default, of those at which all sizes finished, the best of the
            smallest size.

    Raises:
        MutransferError: the record is empty, has no curves, one size alone, or lacks the rule or
            the rate; or other hyperparameters were swept.
    """
    if not runs.rules:
        raise MutransferError("the record is empty: run the sweep first")
    if rule is not None and rule not in runs.rules:
        raise MutransferError(f"the record has no rule {rule!r}; it has {', '.join(runs.rules)}")
    _check_curves(runs)
    rules = runs.rules if rule is None else [rule]
    outcomes = [_outcome(runs, line, lr) for name in rules for line in _lines(runs, name)]
    return Collapses(outcomes=tuple(outcomes))


@dataclass(frozen=True)
class _Line:
    """The sizes of one rule along one axis; the other axes are fixed."""

    rule: str
    axis: str
    fixed: Size
    sizes: tuple[Size, ...]

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(size[self.axis] for size in self.sizes)

    def unknown(self, reason: str, lr: float = math.nan) -> Collapse:
        """Return the outcome of curves that tell nothing."""
        return Collapse(
            rule=self.rule,
            axis=self.axis,
            fixed=self.fixed,
            sizes=self.values,
            lr=lr,
            seeds=0,
            outcome=UNKNOWN,
            reason=reason,
        )


def _check_curves(runs: Runs) -> None:
    if "table" in runs.header or not any(row.get("curve") for row in runs.rows):
        raise MutransferError(
            "the runs have no loss curves: a table of runs holds one loss a run; give the folder "
            "of a sweep, whose record has the curve of every run"
        )
    swept = [name for name in runs.hyperparameters if name != "lr"]
    values = {name: {str(row[name]) for row in runs.rows if name in row} for name in swept}
    if several := [name for name in swept if len(values[name]) > 1]:
        raise MutransferError(
            f"the record swept {', '.join(several)}, too: curves are compared where the rate and "
            "the size alone differ; give a record of one value of each"
        )


def _lines(runs: Runs, rule: str) -> list[_Line]:
    """Return the lines of sizes along which one axis alone differs."""
    sizes = runs.sizes(rule)
    if len(sizes) < 2:
        only = f"{sizes[0]} alone" if sizes else "no size"
        raise MutransferError(
            f"rule {rule!r} was run at {only}: curves are compared across at least "
            f"{FEWEST_SIZES} sizes"
        )
    axes = varying(sizes)
    if others := [axis for axis in axes if axis in _LENGTHS]:
        raise MutransferError(
            f"the sizes differ in {', '.join(others)}: curves are compared at equal steps and data"
        )
    lines = []
    for axis in axes:
        rest = [other for other in axes if other != axis]
        groups: dict[Size, list[Size]] = {}
        for size in sizes:
            groups.setdefault(Size({name: size[name] for name in rest}), []).append(size)
        lines += [_Line(rule, axis, fixed, tuple(group)) for fixed, group in groups.items()]
    longest = max(len(line.sizes) for line in lines)
    if longest < 2:
        raise MutransferError(
            f"{' and '.join(axes)} only vary together under rule {rule!r}: vary one alone"
        )
    # Where a grid has short lines beside long ones, the long ones tell more.
    return [line for line in lines if len(line.sizes) >= min(longest, FEWEST_SIZES)]


def _outcome(runs: Runs, line: _Line, lr: float | None) -> Collapse:
    if len(line.sizes) < FEWEST_SIZES:
        return line.unknown(
            f"two sizes, {line.axis} {line.values[0]} and {line.values[1]}, differ under right "
            "scaling, too: a third shows whether the gap closes"
        )
    by_rate = _by_rate(runs, line)
    rate = _rate(runs, line, by_rate, lr)
    if isinstance(rate, str):
        return line.unknown(rate, math.nan if lr is None else lr)
    curves = _curves(by_rate[rate], line)
    if isinstance(curves, str):
        return line.unknown(curves, rate)
    gaps = curve_gaps(curves, np.array(line.values, float), _POWERS.get(line.axis, 1.0))
    if gaps.fall < LEAST_FALL:
        return line.unknown(
            f"the loss falls by {-math.expm1(-gaps.fall):.0%} only: train longer, or at a higher "
            "rate",
            rate,
        )
    return _judged(line, rate, curves, gaps)


def _by_rate(runs: Runs, line: _Line) -> dict[float, dict[Size, dict[int, Row]]]:
    """Return the rows by rate, size and seed."""
    found: dict[float, dict[Size, dict[int, Row]]] = {}
    for row in runs.only(line.rule).rows:
        size = runs.size_of(row)
        if size in line.sizes and row.get("status") != "failed":
            found.setdefault(float(row["lr"]), {}).setdefault(size, {})[row["seed"]] = row
    return found


def _rate(
    runs: Runs,
    line: _Line,
    by_rate: Mapping[float, Mapping[Size, Mapping[int, Row]]],
    lr: float | None,
) -> float | str:
    """Return the rate at which curves are compared, or why there is none."""
    known = ", ".join(f"{rate:g}" for rate in sorted(by_rate)) or "none"
    if lr is not None:
        near = [rate for rate in by_rate if math.isclose(rate, lr, rel_tol=1e-6)]
        if not near:
            raise MutransferError(f"rule {line.rule!r} was not run at rate {lr:g}: it has {known}")
        return _reason_against(by_rate[near[0]], line) or near[0]
    reasons = {rate: _reason_against(cells, line) for rate, cells in by_rate.items()}
    good = [rate for rate, reason in reasons.items() if not reason]
    if not good:
        return "; ".join(dict.fromkeys(reasons[rate] for rate in sorted(reasons)))

    def loss(rate: float) -> float:
        rows = by_rate[rate][line.sizes[0]].values()
        return float(np.mean([runs.loss_of(row) for row in rows if _finished(row)]))

    return min(sorted(good), key=loss)


def _reason_against(cells: Mapping[Size, Mapping[int, Row]], line: _Line) -> str:
    """Return why the sizes cannot be compared at a rate, empty if they can."""
    for size in line.sizes:
        rows = list(cells.get(size, {}).values())
        rate = f"rate {next(iter(next(iter(cells.values())).values()))['lr']:g}"
        if not rows:
            return f"no run at {rate} at {size}: {_OTHER}"
        if not any(_finished(row) for row in rows):
            how = rows[0].get("status", "diverged")
            return f"the run at {rate} {_ENDED.get(how, how)} at {size}: {_OTHER}"
    return ""


_ENDED = {"stopped": "was stopped", "diverged": "diverged"}


def _finished(row: Row) -> bool:
    return row.get("status", "finished") == "finished" and bool(row.get("curve"))


def _curves(
    cells: Mapping[Size, Mapping[int, Row]], line: _Line
) -> Float[Array, "seeds sizes points"] | str:
    """Return curves of the seeds that finished at all sizes, or why there are none.

    Without a common seed the first of each size is taken; its batches are its own then.
    """
    finished = [{s: row for s, row in cells[size].items() if _finished(row)} for size in line.sizes]
    common = sorted(set.intersection(*map(set, finished)))
    picks = [[each[seed] for each in finished] for seed in common]
    rows = picks or [[each[min(each)] for each in finished]]
    if reason := _unlike([row for pick in rows for row in pick], line.axis):
        return reason
    curves = np.array([[row["curve"] for row in pick] for pick in rows], dtype=np.float64)
    if not (np.isfinite(curves) & (curves > 0)).all():
        return "a loss is not positive: only positive losses have the logarithms that are compared"
    return curves


def _unlike(rows: Sequence[Row], axis: str) -> str:
    """Return why curves are not of the same training, empty if they are."""
    lengths = {len(row["curve"]) for row in rows}
    steps = {row.get("steps") for row in rows}
    reported = {tuple(row.get("reported_at", ())) for row in rows}
    if len(lengths) == len(steps) == 1 < len(reported):
        return "the losses were reported at other steps from run to run: report the same ones"
    if max(len(lengths), len(steps)) > 1:
        shown = sorted(steps if len(steps) > 1 else lengths, key=str)
        what = "steps" if len(steps) > 1 else "points"
        return (
            f"the curves have unequal lengths along {axis} ({', '.join(map(str, shown))} {what}): "
            "train every size for equally many steps and report the loss at the same ones"
        )
    if (points := lengths.pop()) < FEWEST_POINTS:
        return (
            f"the curves have {points} points: at least {FEWEST_POINTS} are needed; train longer, "
            "or report the loss at every step"
        )
    return ""


def _judged(
    line: _Line, rate: float, curves: Float[Array, "seeds sizes points"], gaps: CurveGaps
) -> Collapse:
    """Return the outcome of gaps that could be measured."""
    worst = tuple(
        Gap(
            size=line.values[row + 1],
            octaves=_estimate(gaps, row, int(window)),
            progress=float(gaps.ends[window]),
        )
        for row, window in enumerate(np.argmax(clearness(gaps.octaves, gaps.errors), axis=1))
    )
    first = float(np.median(curves[..., 0]))
    shown = np.exp(np.log(curves / first).mean(0))
    outcome, reason = _verdict(gaps, worst[gaps.clearest[0]], line.axis, len(curves))
    return Collapse(
        rule=line.rule,
        axis=line.axis,
        fixed=line.fixed,
        sizes=line.values,
        lr=rate,
        seeds=len(curves),
        outcome=outcome,
        reason=reason,
        p_value=gaps.p_value,
        noise=gaps.noise,
        distance=float(np.sqrt(np.mean(gaps.octaves**2))),
        bound=gaps.bound,
        gaps=worst,
        until=float(gaps.ends[-1]),
        curves=tuple(tuple(map(float, curve)) for curve in shown),
    )


def _estimate(gaps: CurveGaps, row: int, window: int) -> Estimate:
    value, low, high = gaps.interval(row, window)
    return Estimate(value=value, low=low, high=high)


def _verdict(gaps: CurveGaps, clearest: Gap, axis: str, seeds: int) -> tuple[str, str]:
    """Return the outcome, and what it rests on."""
    value = clearest.octaves.value
    place = (
        f"{axis} {clearest.size} is {abs(value):.2f} octaves of training "
        f"{'ahead of' if value > 0 else 'behind'} what the other sizes foretell"
    )
    if gaps.p_value <= _LEVEL:
        return APART, f"{place}, up to {clearest.progress:.0%} of it"
    if gaps.p_value >= _UNSUSPICIOUS and gaps.bound < _CLOSE:
        return ALIKE, f"no size is more than {gaps.bound:.2f} octaves from what the others foretell"
    more = "more seeds" if seeds > 1 else "several seeds"
    return UNKNOWN, (
        f"{place}, which may be noise (p = {gaps.p_value:.2f}), and may be as much as "
        f"{gaps.bound:.2f}: {more}, larger sizes or a lower rate can tell"
    )
