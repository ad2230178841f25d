"""Transfer from a record: drift, regret, and the rate to use at a target size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size, varying
from ..statistics import Array, estimate
from ..studies import Runs
from ._optimum import optimum
from ._regret import regret
from ._transfer import Refusal, Transfer
from ._transfers import Transfers

LARGEST_DRIFT = 0.25
"""Octaves per doubling up to which a significant drift gives no warning."""

LARGEST_MOVE = 1.0
"""Octaves that the optimum may move in all without a warning."""

SMALLEST_SPAN = 4
"""Factor that the sizes of an axis must span for a drift to show."""


def transfer(runs: Runs, at: Mapping[str, int] | None = None) -> Transfers:
    """Return the transfer of every rule of a record, with the rate for a target size.

    Where the record does not show a transfer, the rule has a refusal in its place. Reasons are an
    optimum at the edge of the grid, incomplete runs, different seeds at different sizes, one size
    only, or an axis of the target along which the sizes do not vary.

    Args:
        runs: The record of a sweep over at least two sizes.
        at: Size to predict for, such as {"width": 8192}; other axes stay at the largest size.

    Raises:
        MutransferError: the record is empty, or the target has an unknown axis or a size below 1.
    """
    if not runs.rules:
        raise MutransferError("the record is empty: run the sweep first")
    target = dict(at or {})
    _check_target(runs, target)
    return Transfers(runs=runs, outcomes=tuple(_outcome(runs, rule, target) for rule in runs.rules))


def _check_target(runs: Runs, target: Mapping[str, int]) -> None:
    axes = dict.fromkeys(axis for rule in runs.rules for size in runs.sizes(rule) for axis in size)
    if unknown := target.keys() - axes.keys():
        raise MutransferError(
            f"target has {', '.join(sorted(unknown))}: it takes {' and '.join(axes)}"
        )
    for axis, value in target.items():
        if value < 1:
            raise MutransferError(f"target {axis} is {value}: give a size of at least 1")


def _outcome(runs: Runs, rule: str, target: Mapping[str, int]) -> Transfer | Refusal:
    try:
        return _certified(runs, rule, target)
    except MutransferError as error:
        return Refusal(rule=rule, reason=str(error))


def _certified(runs: Runs, rule: str, target: Mapping[str, int]) -> Transfer:
    """Return the transfer of one rule.

    Raises:
        MutransferError: the record does not show it.
    """
    sizes = _sizes(runs, rule)
    tables = {size: runs.losses(rule, size) for size in sizes}
    if len({runs.seeds(rule, size) for size in sizes}) > 1:
        raise MutransferError(
            f"rule {rule!r} has other seeds at other sizes: "
            "run the sweep with the same seeds everywhere"
        )
    optima, resampled = zip(*(optimum(rule, size, *tables[size]) for size in sizes), strict=True)
    samples = np.stack(resampled, axis=-1)
    centre = np.array([best.log2_lr for best in optima])
    axes = varying(sizes)
    slopes, sample_slopes = _slopes(sizes, axes, centre), _slopes(sizes, axes, samples)
    drift = {axis: estimate(slopes[i], sample_slopes[..., i]) for i, axis in enumerate(axes)}
    aim = _aim(sizes[-1], axes, target)
    doublings = np.array([math.log2(aim[axis] / sizes[-1][axis]) for axis in axes])
    cost = regret(*tables[sizes[-1]], centre[0], samples[..., 0])
    total = float(centre[-1] - centre[0])
    warnings = [*_axis_warnings(sizes, drift, doublings), *_cost_warnings(total, cost)]
    return Transfer(
        rule=rule,
        optima=optima,
        drift=drift,
        total=total,
        regret=cost,
        target=aim,
        rate=estimate(
            centre[-1] + slopes @ doublings, samples[..., -1] + sample_slopes @ doublings
        ),
        warnings=tuple(warnings),
    )


def _sizes(runs: Runs, rule: str) -> list[Size]:
    sizes = runs.sizes(rule)
    if len(sizes) < 2:
        raise MutransferError(
            f"rule {rule!r} was run at one size only, {sizes[0]}: transfer needs two or more"
        )
    return sizes


def _aim(largest: Size, axes: Sequence[str], target: Mapping[str, int]) -> Size:
    """Return the target with the largest size along all other axes."""
    aim = largest.grown(**target)
    for axis in aim:
        if aim[axis] != largest[axis] and axis not in axes:
            raise MutransferError(
                f"the sweep has one {axis} only, {largest[axis]}, "
                f"and says nothing of {axis} {aim[axis]}"
            )
    return aim


def _slopes(
    sizes: Sequence[Size], axes: Sequence[str], optima: Float[Array, "*samples sizes"]
) -> Float[Array, "*samples axes"]:
    """Return least-squares slopes of log2(rate), in octaves per doubling of each axis."""
    design = np.array([[1.0, *(math.log2(size[axis]) for axis in axes)] for size in sizes])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise MutransferError(
            f"{' and '.join(axes)} only vary together in this sweep, "
            "so that their drifts cannot be separated: vary one alone"
        )
    return np.asarray((optima @ np.linalg.pinv(design).T)[..., 1:])


def _axis_warnings(
    sizes: Sequence[Size], drift: Mapping[str, Estimate], doublings: Float[Array, " axes"]
) -> list[str]:
    """Return what each axis gives reason to doubt."""
    warnings = []
    for (axis, slope), far in zip(drift.items(), doublings, strict=True):
        if (slope.low > 0 or slope.high < 0) and abs(slope.value) > LARGEST_DRIFT:
            warnings.append(
                f"the optimum drifts {slope} octaves per doubling of {axis}: it does not transfer"
            )
        span = max(size[axis] for size in sizes) / min(size[axis] for size in sizes)
        if span < SMALLEST_SPAN:
            warnings.append(
                f"the sweep spans a factor {span:g} in {axis}, too little to see a drift; "
                f"use {SMALLEST_SPAN} or more"
            )
        if far > math.log2(span):
            warnings.append(
                f"the target is {2**far:g} times the largest {axis}, "
                f"farther than the sweep spans ({span:g} times)"
            )
    return warnings


def _cost_warnings(total: float, cost: Estimate) -> list[str]:
    """Return a warning if the smallest size's rate fails or is far off at the largest."""
    if math.isinf(cost.value):
        return ["the smallest size's optimum diverges, or was not run, at the largest size"]
    if abs(total) > LARGEST_MOVE:
        return [f"the optimum moves {total:+.2f} octaves from the smallest size to the largest"]
    return []
