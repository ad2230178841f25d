"""The best value of a hyperparameter at one size, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..core import MutransferError, Size, in_octaves, number, value_at
from ..statistics import SEED_OCTAVES, Array, Posterior, edge, infinite, posterior
from ._scales import FEWEST_VALUES, clipped, positions, unit, value_text

NO_EFFECT = 1e-4
"""Losses that differ by less, relatively, over all values are the same."""

_ORDINARY = 100.0
"""Losses above are sums over examples, or have an offset that says nothing of the differences."""

_ROUNDING = 1e-7
"""Relative difference up to which losses of float32 are the same, however large."""

EXTEND = " (`mutransfer sweep ... --extend 4` does)"
"""How to add rates to a sweep of one's own."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best value of a hyperparameter, of one rule at one size.

    Attributes:
        size: The size.
        position: Its place on the scale, such as log2 of the best learning rate.
        low: Lower end of its 95% interval, on the scale.
        high: Upper end.
        loss: Lowest mean loss among the values that were run.
        diverged: Share of the runs that diverged.
        scale: The scale, one of `core.Scale` but "choice".
        status: "inside" the values that were run; at their "edge"; or "flat" where the losses do
            not differ beyond their noise, so that the interval is a range of equally good values.
    """

    size: Size
    position: float
    low: float
    high: float
    loss: float
    diverged: float
    scale: str = "log2"
    status: str = "inside"

    @property
    def log2_lr(self) -> float:
        """Log2 of the best learning rate: the position on its scale."""
        return self.position

    @property
    def value(self) -> float:
        """The best value itself, such as the learning rate."""
        return value_at(self.position, self.scale)

    def to_json(self) -> dict[str, Any]:
        """Return the optimum as data, with its value as a decimal."""
        names = ("size", "position", "low", "high", "value", "loss", "diverged", "scale", "status")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Optimum:
        """Return the optimum that `to_json` wrote."""
        numbers = {
            name: number(data[name]) for name in ("position", "low", "high", "loss", "diverged")
        }
        scale, status = str(data["scale"]), str(data["status"])
        return cls(size=Size(data["size"]), scale=scale, status=status, **numbers)


def optimum(
    rule: str,
    size: Size,
    values: Sequence[float],
    losses: Float[Array, "seeds values"],
    *,
    over: str = "lr",
    scale: str = "log2",
    extend: str = EXTEND,
    ran: Bool[Any, "seeds values"] | None = None,
) -> tuple[Optimum, Posterior]:
    """Return the optimum of one size, and the posterior that it is taken from.

    The interval has the noise of the seeds, the misfit of the curve and the spacing of the values
    in it. One seed cannot show how far its own optimum lies from that of others: 0.2 octaves are
    assumed.

    Args:
        rule: The rule, for messages.
        size: The size.
        values: Values of the hyperparameter, ascending.
        losses: The loss; infinite or NaN where a run diverged.
        over: The hyperparameter.
        scale: Its scale.
        extend: How to add values, as an end of the message.
        ran: The runs that were made, where values were run with few of the seeds; all by default.

    Raises:
        MutransferError: there are fewer than three values, the loss is the same at all of them, or
            the lowest lies at the edge of the grid.
    """
    losses = infinite(losses)
    where, name = f"rule {rule!r} at {size}", "rate" if over == "lr" else over
    if len(values) < FEWEST_VALUES:
        number = len(values)
        count = f"{number} {_plural(name)}" if number != 1 else _one(name)
        raise MutransferError(f"{where} was run at {count}: an optimum needs at least 3")
    grid = positions(values, scale)
    mean = losses.mean(0)
    _check_span(where, grid, name, scale)
    _check_effect(where, losses, name)
    unit = octave(grid, scale)
    found = posterior(grid, losses, shift=shift(scale), unit=unit, run=ran)
    if found.status != "flat":
        _check_bracketed(where, values, mean, name, scale, extend)
    best = Optimum(
        size=size,
        position=clipped(found.position, over, scale),
        low=clipped(found.low, over, scale),
        high=clipped(found.high, over, scale),
        loss=float(mean.min()),
        diverged=float(np.isinf(losses).mean()),
        scale=scale,
        status=found.status,
    )
    return best, found


def octave(grid: Float[Array, " values"], scale: str) -> float:
    """Return the distance that counts as an octave; a step of a linear grid."""
    return 1.0 if in_octaves(scale) else float(np.median(np.diff(grid)))


def shift(scale: str) -> float:
    """Return the sd of one seed's optimum, in octaves or steps of the grid."""
    return SEED_OCTAVES if in_octaves(scale) else SEED_OCTAVES / 2


def range_text(best: Optimum) -> str:
    """Return the interval of an optimum as a range of values."""
    ends = (value_text(end, best.scale) for end in (best.low, best.high))
    return " to ".join(ends)


def _check_span(where: str, grid: Float[Array, " values"], name: str, scale: str) -> None:
    """Raise if all values are nearer to each other than the optima of two seeds."""
    span = float(np.ptp(grid))
    if in_octaves(scale) and span < SEED_OCTAVES:
        raise MutransferError(
            f"{where}: all {_plural(name)} lie within {span:.2g} {unit(scale, name)}, less "
            f"than an optimum moves from seed to seed: give {_plural(name)} over an octave or "
            "more; see that the column of a table has no other unit, such as logarithms"
        )


def _check_effect(where: str, losses: Float[Array, "seeds values"], name: str) -> None:
    """Raise if no seed's loss depends on the value."""
    if not np.isfinite(losses).all():
        return
    ranges = losses.max(1) - losses.min(1)
    largest = np.abs(losses).max(1)
    if (ranges <= NO_EFFECT * np.minimum(largest, _ORDINARY) + _ROUNDING * largest).all():
        raise MutransferError(
            f"{where}: the loss is the same at every {name}, so the {name} has no effect: see that "
            "the output depends on parameters that train (no detach, no no_grad), or give larger "
            f"{_plural(name)}"
        )


def _check_bracketed(
    where: str,
    values: Sequence[float],
    mean: Float[Array, " values"],
    name: str,
    scale: str,
    extend: str,
) -> None:
    """Raise if the lowest loss lies at the edge of the grid."""
    side = edge(mean)
    if side is None:
        return
    if np.isfinite(mean).any():
        lowest = values[0 if side == "low" else -1]
        place = f"2^{np.log2(lowest):g}" if scale == "log2" else f"{lowest:g}"
        fault = f"the lowest loss is at the edge of the grid, {place}"
    else:
        fault = f"every {name} diverged"
    direction = "below" if side == "low" else "above"
    raise MutransferError(
        f"{where}: {fault}, so the optimum is not bracketed; add {_plural(name)} {direction} it"
        f"{extend}"
    )


def _one(name: str) -> str:
    return "one rate" if name == "rate" else f"one value of {name}"


def _plural(name: str) -> str:
    return "rates" if name == "rate" else f"values of {name}"
