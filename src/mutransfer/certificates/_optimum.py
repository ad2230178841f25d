"""The best learning rate of one size, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size
from ..statistics import Array, edge, interval, resamples, vertex


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
    return Optimum(
        size=size,
        log2_lr=best,
        low=min(low, best),
        high=max(high, best),
        loss=float(mean.min()),
        diverged=diverged,
    ), samples
