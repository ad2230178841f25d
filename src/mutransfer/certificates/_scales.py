"""Hyperparameters on their scales: positions on an axis, values, and both as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..core import MEMORY, Estimate, has_place, in_octaves, place_of, two_digits, value_at
from ..statistics import Array
from ..studies import Runs, range_of, scale_of

FEWEST_VALUES = 3
"""An optimum inside the grid needs a value on either side."""

_ENDS = (0, 1)
"""Values that switch something off or on for good, and have no logarithm of x or of 1 - x."""


def scale_along(runs: Runs, over: str) -> str:
    """Return the scale of a hyperparameter, one of `core.Scale`.

    A logarithmic scale that the record names is a linear one where a value has no place on it. Of a
    hyperparameter that has a logarithmic scale, such as weight decay, 0 alone is set aside, and 1
    of a beta: on a linear scale all but the largest values would be one.
    """
    values = list({row[over] for row in runs.rows if row.get(over) is not None})
    default = scale_of(over, values) if values else "log2"
    # Records of before name a linear scale for betas.
    if default in ("choice", MEMORY):
        return default
    named: str = runs.header.get("scales", {}).get(over, default)
    for end in _ENDS:
        inside = [value for value in values if value != end]
        is_set_aside = end in values and len(inside) >= FEWEST_VALUES
        if is_set_aside and not has_place(end, own := scale_of(over, inside)):
            return own
    return named if all(has_place(value, named) for value in values) else "linear"


def on_scale(values: Sequence[Any], scale: str) -> Bool[Any, " values"]:
    """Return which values have a place on their scale."""
    return np.array([scale == "choice" or has_place(value, scale) for value in values], dtype=bool)


def no_place(scale: str) -> int:
    """Return the value at the end of a logarithmic scale, which has no place there."""
    return 1 if scale == MEMORY else 0


def placed(
    values: Sequence[Any], losses: Float[Array, "seeds values"], scale: str
) -> tuple[list[Any], Float[Array, "seeds placed"]]:
    """Return the values that have a place on their scale, and their losses."""
    chosen = on_scale(values, scale)
    return [value for value, is_on in zip(values, chosen, strict=True) if is_on], losses[:, chosen]


def positions(values: Sequence[Any], scale: str) -> Float[Array, " values"]:
    """Return values as places on their scale."""
    return np.array([place_of(value, scale) for value in values], dtype=np.float64)


def clipped(position: float, over: str, scale: str) -> float:
    """Return the place of the nearest value that a hyperparameter can have.

    >>> clipped(1.16, "dropout", "linear"), clipped(1.16, "label_smoothing", "linear")
    (1.16, 1.0)
    >>> clipped(-0.2, "momentum", MEMORY), clipped(-9.0, "lr", "log2")
    (0.0, -9.0)
    """
    low, high = range_of(over) if scale == "linear" else (-math.inf, math.inf)
    return float(min(max(position, 0.0 if scale == MEMORY else low), high))


def interval_at(estimate: Estimate, scale: str) -> tuple[float, float]:
    """Return the ends of an interval as values."""
    return value_at(estimate.low, scale), value_at(estimate.high, scale)


def decimal(position: float, scale: str) -> str:
    """Return the value at a place as a decimal of two digits, three on a linear scale.

    A beta has as many digits as its distance to 1 needs.

    >>> decimal(-7.51, "log2"), decimal(0.953, "linear"), decimal(9.97, MEMORY)
    ('0.0055', '0.953', '0.999')
    """
    if scale == MEMORY:
        return two_digits(value_at(position, scale))
    return f"{value_at(position, scale):.{2 if scale == 'log2' else 3}g}"


def value_text(position: float, scale: str) -> str:
    """Return the value at a place as text.

    >>> value_text(-7.51, "log2"), value_text(0.95, "linear")
    ('2^-7.51 (0.0055)', '0.95')
    """
    if scale == "log2":
        return f"2^{position:.2f} ({decimal(position, scale)})"
    return decimal(position, scale)


def interval_text(estimate: Estimate, scale: str) -> str:
    """Return an estimate with its interval, in values."""
    power = "2^" if scale == "log2" else ""
    ends = ", ".join(
        f"{power}{end:.2f}" if power else decimal(end, scale)
        for end in (estimate.low, estimate.high)
    )
    return f"{value_text(estimate.value, scale)} [{ends}]"


def cell_text(value: float, low: float, high: float, scale: str) -> str:
    """Return an optimum as a cell of a table: place, interval and decimal.

    >>> cell_text(-7.51, -7.9, -7.2, "log2")
    '-7.51 [-7.90, -7.20] 0.0055'
    """
    if scale == "log2":
        return f"{value:.2f} [{low:.2f}, {high:.2f}] {decimal(value, scale)}"
    return f"{decimal(value, scale)} [{decimal(low, scale)}, {decimal(high, scale)}]"


def distance_text(estimate: Estimate, scale: str) -> str:
    """Return a distance on the scale with its interval, as text."""
    if in_octaves(scale):
        return str(estimate)
    return f"{estimate.value:+.2g} [{estimate.low:+.2g}, {estimate.high:+.2g}]"


def loss_text(estimate: Estimate) -> str:
    """Return a difference of losses with its interval, as text.

    >>> loss_text(Estimate(value=0.0123, low=0.0, high=0.05))
    '0.012 [0, 0.05]'
    """
    # Ends far below the others are as good as zero.
    least = 1e-3 * max(abs(estimate.value), abs(estimate.high))
    low = 0.0 if abs(estimate.low) < least else estimate.low
    return f"{estimate.value:.2g} [{low:.2g}, {estimate.high:.2g}]"


def span_text(steps: float, step: float, scale: str, over: str) -> str:
    """Return a distance that is given in octaves, or in steps of a linear grid.

    >>> span_text(2.5, 1.0, "log2", "lr"), span_text(2.5, 0.01, "linear", "warmup")
    ('2.5 octaves', '0.025 (2.5 steps of its values)')
    """
    if in_octaves(scale):
        return f"{steps:.1f} {unit(scale, over)}"
    return f"{steps * step:.2g} ({steps:.1f} steps of its values)"


def unit(scale: str, over: str) -> str:
    """Return the unit of a distance on the scale.

    Of a beta it is signed as the beta itself is: it grows where 1 - beta falls.

    >>> unit("log2", "lr"), unit(MEMORY, "beta2"), unit("linear", "warmup")
    ('octaves', 'octaves of 1/(1 - beta2)', 'units')
    """
    if scale == MEMORY:
        return f"octaves of 1/(1 - {over})"
    return "octaves" if scale == "log2" else "units"
