"""The best learning rate of one size, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .._errors import MutransferError
from ..sweep import Size, edge

Array = np.ndarray[Any, np.dtype[np.float64]]
Index = np.ndarray[Any, np.dtype[np.int64]]

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best learning rate of one rule at one size.

    Attributes:
        size: The size.
        log2_lr: Log2 of the best rate.
        low: Lower end of its 95% interval.
        high: Upper end.
        loss: Lowest mean loss among the rates that were run.
        diverged: Share of the runs that diverged.
    """

    size: Size
    log2_lr: float
    low: float
    high: float
    loss: float
    diverged: float


def vertex(log2_lr: Float[Array, " rates"], losses: Float[Array, "*samples rates"]) -> Float[Array, "*samples"]:
    """Where the parabola through the lowest loss and its two neighbours has its minimum, in log2(rate).

    A neighbour that diverged counts as an infinite loss, in the limit of which the minimum lies halfway to the other neighbour. A
    lowest loss at the edge of the grid is returned as it is.
    """
    best = np.argmin(losses, axis=-1)
    inner = np.clip(best, 1, len(log2_lr) - 2)
    left, middle, right = (np.take_along_axis(losses, (inner + shift)[..., None], -1)[..., 0] for shift in (-1, 0, 1))
    x_left, x, x_right = (log2_lr[inner + shift] for shift in (-1, 0, 1))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        slope_left, slope_right = (middle - left) / (x - x_left), (right - middle) / (x_right - x)
        weight = slope_right / (slope_right - slope_left)
    weight = np.where(np.isinf(right), np.where(np.isinf(left), 0.5, 1.0), np.where(np.isinf(left), 0.0, weight))
    weight = np.where(np.isfinite(weight), weight, 0.5)
    fitted = weight * (x_left + x) / 2 + (1 - weight) * (x + x_right) / 2
    return np.asarray(np.where(best == inner, fitted, log2_lr[best]))


def resamples(seeds: int) -> Int[Index, "resamples seeds"]:
    """Bootstrap samples of the seeds, the same on every call."""
    return np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))


def interval(samples: Float[Array, " resamples"]) -> tuple[float, float]:
    """The 95% interval of bootstrap samples, by percentiles."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def optimum(
    rule: str, size: Size, rates: Sequence[float], losses: Float[Array, "seeds rates"]
) -> tuple[Optimum, Float[Array, " resamples"]]:
    """The optimum and its bootstrap samples over seeds.

    With few seeds a percentile interval is too narrow: three seeds have ten different samples.

    Args:
        rule: The rule, for messages.
        size: The size.
        rates: Learning rates, ascending.
        losses: Mean training loss; infinite where a run diverged.

    Raises:
        MutransferError: the lowest loss lies at the edge of the grid, or there are fewer than three rates.
    """
    mean = losses.mean(0)
    where = f"rule {rule!r} at {size}"
    if len(rates) < 3:
        raise MutransferError(f"{where} was run at {len(rates)} rates: an optimum needs at least 3")
    log2_lr = np.log2(np.array(rates, dtype=np.float64))
    if side := edge(mean):
        found = (
            "every rate diverged"
            if not np.isfinite(mean).any()
            else f"the lowest loss is at the edge of the grid, 2^{log2_lr[0 if side == 'low' else -1]:g}"
        )
        direction = "below" if side == "low" else "above"
        raise MutransferError(
            f"{where}: {found}, so the optimum is not bracketed; add rates {direction} it (`mutransfer sweep ... --extend 4` does)"
        )
    samples = vertex(log2_lr, losses[resamples(len(losses))].mean(1))
    low, high = interval(samples)
    best = float(vertex(log2_lr, mean))
    diverged = float(np.isinf(losses).mean())
    return Optimum(size=size, log2_lr=best, low=min(low, best), high=max(high, best), loss=float(mean.min()), diverged=diverged), samples
