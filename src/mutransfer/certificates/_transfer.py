"""Whether the best learning rate of a small network is right for a large one: drift, regret, and the rate to use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size
from ..statistics import Array, interval, resamples
from ..studies import Runs
from ._optimum import Optimum, optimum

AXES = ("width", "depth")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How well one rule carries the best learning rate from the smallest size of a sweep to larger ones.

    Attributes:
        rule: The rule.
        optima: The optimum at every size, from small to large.
        drift: Octaves that the optimum moves per doubling, for each of "width" and "depth" that varies.
        total: Octaves from the smallest size's optimum to the largest's.
        regret: Loss at the largest size with the smallest size's optimum, less the lowest loss there.
        target: The size that rate is for; the largest one where none was asked for.
        rate: Log2 of the rate to use at the target: the largest size's optimum moved by the drift from there.
        warnings: When not to trust it.
    """

    rule: str
    optima: tuple[Optimum, ...]
    drift: Mapping[str, Estimate]
    total: float
    regret: Estimate
    target: Size
    rate: Estimate
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is infinite, as the regret of a rate that diverged, is null."""
        data: dict[str, Any] = _finite(asdict(self))
        return data


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def transfer(runs: Runs, target: Mapping[str, int] | None = None) -> list[Transfer]:
    """For every rule of a sweep: the optimum at each size, its drift and regret, and the rate to use at the target.

    Args:
        runs: The record of a sweep over at least two sizes.
        target: Size to predict for, such as {"width": 8192}; what is left out is the largest of the sweep.

    Raises:
        MutransferError: an optimum is not bracketed by its grid, the record is incomplete, or there is only one size.
    """
    if not runs.rules:
        raise MutransferError("the record is empty: run the sweep first")
    return [_transfer(runs, rule, target or {}) for rule in runs.rules]


def _transfer(runs: Runs, rule: str, target: Mapping[str, int]) -> Transfer:
    sizes = runs.sizes(rule)
    if len(sizes) < 2:
        raise MutransferError(
            f"rule {rule!r} was run at one size only, {sizes[0]}: transfer needs two or more"
        )
    tables = {size: runs.losses(rule, size) for size in sizes}
    if len({runs.seeds(rule, size) for size in sizes}) > 1:
        raise MutransferError(
            f"rule {rule!r} has other seeds at other sizes: run the sweep with the same seeds everywhere"
        )
    found = [optimum(rule, size, *tables[size]) for size in sizes]
    optima = tuple(best for best, _ in found)
    samples = np.stack([drawn for _, drawn in found], axis=-1)
    centre = np.array([best.log2_lr for best in optima])
    axes = [axis for axis in AXES if len({size[axis] for size in sizes}) > 1]
    slopes, sample_slopes = _slopes(sizes, axes, centre), _slopes(sizes, axes, samples)
    drift = {axis: _estimate(slopes[i], sample_slopes[..., i]) for i, axis in enumerate(axes)}
    largest = sizes[-1]
    if unknown := set(target) - set(AXES):
        raise MutransferError(f"target has {', '.join(sorted(unknown))}: it takes width and depth")
    if small := [axis for axis, value in target.items() if value < 1]:
        raise MutransferError(f"target {small[0]} is {target[small[0]]}: give a size of at least 1")
    aim = Size(**{axis: target.get(axis, largest[axis]) for axis in AXES})
    if fixed := [axis for axis in AXES if aim[axis] != largest[axis] and axis not in axes]:
        raise MutransferError(
            f"the sweep has one {fixed[0]} only, {largest[fixed[0]]}, and says nothing of {fixed[0]} {aim[fixed[0]]}"
        )
    beyond = np.array([math.log2(aim[axis] / largest[axis]) for axis in axes])
    rate = _estimate(centre[-1] + slopes @ beyond, samples[..., -1] + sample_slopes @ beyond)
    regret = _regret(*tables[largest], centre[0], samples[..., 0])
    total = float(centre[-1] - centre[0])
    return Transfer(
        rule=rule,
        optima=optima,
        drift=drift,
        total=total,
        regret=regret,
        target=aim,
        rate=rate,
        warnings=tuple(_warnings(sizes, axes, drift, total, regret, beyond)),
    )


def _slopes(
    sizes: list[Size], axes: list[str], optima: Float[Array, "*samples sizes"]
) -> Float[Array, "*samples axes"]:
    """Least-squares slopes of log2(rate) in log2 of each size, octaves per doubling."""
    design = np.array([[1.0, *(math.log2(size[axis]) for axis in axes)] for size in sizes])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise MutransferError(
            "width and depth only vary together in this sweep, so that their drifts cannot be told apart: vary one alone"
        )
    return np.asarray((optima @ np.linalg.pinv(design).T)[..., 1:])


def _estimate(value: float, samples: Float[Array, " resamples"]) -> Estimate:
    low, high = interval(samples)
    return Estimate(value=float(value), low=min(low, float(value)), high=max(high, float(value)))


def _regret(
    rates: list[float],
    losses: Float[Array, "seeds rates"],
    log2_lr: float,
    samples: Float[Array, " resamples"],
) -> Estimate:
    """Loss at a rate less the lowest that was run; between rates, the straight line in log2(rate), which lies above a convex loss."""
    grid = np.log2(np.array(rates))

    def excess(x: float, mean: Float[Array, " rates"]) -> float:
        right = int(np.clip(np.searchsorted(grid, x), 1, len(grid) - 1))
        share = (x - grid[right - 1]) / (grid[right] - grid[right - 1])
        if not 0 <= share <= 1:
            return math.inf
        parts = [
            weight * mean[i] for weight, i in ((1 - share, right - 1), (share, right)) if weight > 0
        ]
        return float(sum(parts) - mean.min())

    means = losses[resamples(len(losses))].mean(1)
    drawn = np.sort([excess(x, mean) for x, mean in zip(samples, means, strict=True)])
    low, high = (float(drawn[round(share * (len(drawn) - 1))]) for share in (0.025, 0.975))
    value = excess(log2_lr, losses.mean(0))
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _warnings(
    sizes: list[Size],
    axes: list[str],
    drift: Mapping[str, Estimate],
    total: float,
    regret: Estimate,
    beyond: Array,
) -> list[str]:
    found = []
    for axis, far in zip(axes, beyond, strict=True):
        slope = drift[axis]
        if (slope.low > 0 or slope.high < 0) and abs(slope.value) > 0.25:
            found.append(
                f"the optimum drifts {slope} octaves per doubling of {axis}: it does not transfer"
            )
        span = max(size[axis] for size in sizes) / min(size[axis] for size in sizes)
        if span < 4:
            found.append(
                f"the sweep spans a factor {span:g} in {axis}, too little to see a drift; use 4 or more"
            )
        if far > math.log2(span):
            found.append(
                f"the target is {2**far:g} times the largest {axis}, farther than the sweep spans ({span:g} times)"
            )
    if math.isinf(regret.value):
        found.append("the smallest size's optimum diverges, or was not run, at the largest size")
    elif abs(total) > 1:
        found.append(
            f"the optimum moves {total:+.2f} octaves from the smallest size to the largest"
        )
    return found
