"""The axis of a beta: places by the logarithm of 1 - beta, labels as decimals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..core import MEMORY, place_of, value_at

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_DIGITS = ((1, 2, 5), (1,))
"""First digits of 1 - beta that have ticks: all of them, or powers of ten alone."""

_FEWEST = 2
_BETWEEN = 5
"""Ticks of an axis on which no such value lies."""


def axis_label(over: str, scale: str) -> str:
    """Return the label of a hyperparameter's axis.

    >>> axis_label("weight_decay", "log2"), axis_label("beta2", MEMORY)
    ('weight decay', 'beta2, logarithmic in 1 - beta2')
    """
    name = "learning rate" if over == "lr" else over.replace("_", " ")
    return f"{name}, logarithmic in 1 - {name}" if scale == MEMORY else name


def set_beta_ticks(axis: Axis, low: float, high: float, most: int) -> None:
    """Label an axis whose places are those of betas."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    places, texts = zip(*beta_ticks(low, high, most), strict=True)
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(texts))


def beta_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Return places and labels from one place to another.

    >>> [text for _, text in beta_ticks(-0.4, 7.0, 8)]
    ['0', '0.5', '0.8', '0.9', '0.95', '0.98', '0.99']
    """
    found: list[tuple[float, str]] = []
    for digits in _DIGITS:
        found = [
            (place, f"{1 - digit * 10.0**-power:.{power}f}")
            for power in range(math.ceil(max(high, 0.0) * math.log10(2)) + 2)
            for digit in digits
            if low <= (place := place_of(1 - digit * 10.0**-power, MEMORY)) <= high
        ]
        if len(found) <= most:
            break
    if len(found) < _FEWEST:
        places = np.linspace(max(low, 0.0), high, _BETWEEN).tolist()
        return [
            (place, f"{value_at(place, MEMORY):.{math.ceil(place * math.log10(2)) + 2}f}")
            for place in places
        ]
    return sorted(found)[:: math.ceil(len(found) / most)]
