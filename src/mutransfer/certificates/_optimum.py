"""The best learning rate of one size, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size
from ..statistics import Array, edge, estimate, infinite, resamples, vertex

FEWEST_RATES = 3
"""A parabola needs three points."""


NO_EFFECT = 1e-4
"""Losses that differ by less, relatively, over all rates are the same."""


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
    """Return the optimum of one size, and its bootstrap samples over seeds.

    With few seeds a percentile interval is too narrow: three seeds have ten different samples.

    Args:
        rule: The rule, for messages.
        size: The size.
        rates: Learning rates, ascending.
        losses: Mean training loss; infinite or NaN where a run diverged.

    Raises:
        MutransferError: there are fewer than three rates, the loss is the same at all of them, or
            the lowest lies at the edge of the grid.
    """
    losses = infinite(losses)
    where = f"rule {rule!r} at {size}"
    if len(rates) < FEWEST_RATES:
        raise MutransferError(f"{where} was run at {len(rates)} rates: an optimum needs at least 3")
    log2_lr = np.log2(np.array(rates, dtype=np.float64))
    mean = losses.mean(0)
    _check_effect(where, losses)
    _check_bracketed(where, log2_lr, mean)
    samples = vertex(log2_lr, losses[resamples(len(losses))].mean(1))
    best = estimate(float(vertex(log2_lr, mean)), samples)
    result = Optimum(
        size=size,
        log2_lr=best.value,
        low=best.low,
        high=best.high,
        loss=float(mean.min()),
        diverged=float(np.isinf(losses).mean()),
    )
    return result, samples


def _check_effect(where: str, losses: Float[Array, "seeds rates"]) -> None:
    """Raise if no seed's loss depends on the rate."""
    if not np.isfinite(losses).all():
        return
    spread = losses.max(1) - losses.min(1)
    if (spread <= NO_EFFECT * np.abs(losses).max(1)).all():
        raise MutransferError(
            f"{where}: the loss is the same at every rate, so the rate has no effect: see that the "
            "output depends on parameters that train (no detach, no no_grad), or give larger rates"
        )


def _check_bracketed(
    where: str, log2_lr: Float[Array, " rates"], mean: Float[Array, " rates"]
) -> None:
    """Raise if the lowest loss lies at the edge of the grid."""
    side = edge(mean)
    if side is None:
        return
    if np.isfinite(mean).any():
        lowest = log2_lr[0 if side == "low" else -1]
        fault = f"the lowest loss is at the edge of the grid, 2^{lowest:g}"
    else:
        fault = "every rate diverged"
    direction = "below" if side == "low" else "above"
    raise MutransferError(
        f"{where}: {fault}, so the optimum is not bracketed; add rates {direction} it "
        "(`mutransfer sweep ... --extend 4` does)"
    )
