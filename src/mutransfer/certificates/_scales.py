"""Hyperparameters on their scales: positions on an axis, values, and both as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..core import Estimate
from ..statistics import Array
from ..studies import Runs, range_of, scale_of

FEWEST_VALUES = 3
"""An optimum inside the grid needs a value on either side."""


def scale_along(runs: Runs, over: str) -> str:
    """Return the scale of a hyperparameter: "log2", "linear" or "choice".

    A logarithmic scale that the record names is a linear one where a value is not positive. Of a
    hyperparameter that has a logarithmic scale, such as weight decay, 0 alone is set aside: on a
    linear scale all but the largest values would be one.
    """
    values = list({row[over] for row in runs.rows if row.get(over) is not None})
    default = scale_of(over, values) if values else "log2"
    named: str = runs.header.get("scales", {}).get(over, default)
    if default == "choice":
        return "choice"
    least = min(values, default=1.0)
    positive = [value for value in values if value > 0]
    if least == 0 and len(positive) >= FEWEST_VALUES:
        return scale_of(over, positive)
    return "linear" if named == "log2" and least <= 0 else named


def on_scale(values: Sequence[Any], scale: str) -> Bool[Any, " values"]:
    """Return which values have a place on their scale; 0 has no logarithm."""
    if scale != "log2":
        return np.ones(len(values), dtype=bool)
    return np.array([value > 0 for value in values], dtype=bool)


def placed(
    values: Sequence[Any], losses: Float[Array, "seeds values"], scale: str
) -> tuple[list[Any], Float[Array, "seeds placed"]]:
    """Return the values that have a place on their scale, and their losses."""
    chosen = on_scale(values, scale)
    return [value for value, is_on in zip(values, chosen, strict=True) if is_on], losses[:, chosen]


def positions(values: Sequence[Any], scale: str) -> Float[Array, " values"]:
    """Return values as places on their scale: log2 of them, or themselves."""
    array = np.array(values, dtype=np.float64)
    return np.log2(array) if scale == "log2" else array


def clipped(position: float, over: str, scale: str) -> float:
    """Return the place of the nearest value that a hyperparameter can have.

    >>> clipped(1.16, "momentum", "linear"), clipped(-9.0, "lr", "log2")
    (1.0, -9.0)
    """
    low, high = range_of(over) if scale == "linear" else (-math.inf, math.inf)
    return float(min(max(position, low), high))


def value_at(position: float, scale: str) -> float:
    """Return the value at a place of the scale."""
    return 2.0**position if scale == "log2" else float(position)


def interval_at(estimate: Estimate, scale: str) -> tuple[float, float]:
    """Return the ends of an interval as values."""
    return value_at(estimate.low, scale), value_at(estimate.high, scale)


def decimal(position: float, scale: str) -> str:
    """Return the value at a place as a decimal of two digits, three on a linear scale.

    >>> decimal(-7.51, "log2"), decimal(0.953, "linear")
    ('0.0055', '0.953')
    """
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
        f"{power}{end:.2f}" if power else f"{end:.3g}" for end in (estimate.low, estimate.high)
    )
    return f"{value_text(estimate.value, scale)} [{ends}]"


def cell_text(value: float, low: float, high: float, scale: str) -> str:
    """Return an optimum as a cell of a table: place, interval and decimal.

    >>> cell_text(-7.51, -7.9, -7.2, "log2")
    '-7.51 [-7.90, -7.20] 0.0055'
    """
    if scale == "log2":
        return f"{value:.2f} [{low:.2f}, {high:.2f}] {decimal(value, scale)}"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def distance_text(estimate: Estimate, scale: str) -> str:
    """Return a distance on the scale with its interval, as text."""
    if scale == "log2":
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


def span_text(steps: float, step: float, scale: str) -> str:
    """Return a distance that is given in octaves, or in steps of a linear grid.

    >>> span_text(2.5, 1.0, "log2"), span_text(2.5, 0.01, "linear")
    ('2.5 octaves', '0.025 (2.5 steps of its values)')
    """
    if scale == "log2":
        return f"{steps:.1f} {unit(scale)}"
    return f"{steps * step:.2g} ({steps:.1f} steps of its values)"


def unit(scale: str) -> str:
    """Return the unit of a distance on the scale."""
    return "octaves" if scale == "log2" else "units"
