"""Scales of hyperparameters: values as places, and places as values."""

from __future__ import annotations

import math
from typing import Literal

Scale = Literal["log2", "log2(1/(1-x))", "linear", "choice"]
"""The scales that a hyperparameter can have; the first two are counted in octaves."""

MEMORY: Literal["log2(1/(1-x))"] = "log2(1/(1-x))"
"""Scale of betas; an average that keeps a share x of itself remembers 1 / (1 - x) steps."""


def in_octaves(scale: str) -> bool:
    """Return True for a logarithmic scale, whose distances are octaves."""
    return scale in ("log2", MEMORY)


def has_place(value: float, scale: str) -> bool:
    """Return True if a value has a place on the scale: 0 has no logarithm.

    >>> has_place(0.0, "log2"), has_place(0.0, MEMORY), has_place(1.0, MEMORY)
    (False, True, False)
    """
    if scale == MEMORY:
        return value < 1
    return value > 0 if scale == "log2" else True


def place_of(value: float, scale: str) -> float:
    """Return the place of a value.

    >>> place_of(0.25, "log2"), place_of(0.75, MEMORY), place_of(0.75, "linear")
    (-2.0, 2.0, 0.75)
    """
    if scale == MEMORY:
        return -math.log2(1 - value)
    return math.log2(value) if scale == "log2" else float(value)


def value_at(place: float, scale: str) -> float:
    """Return the value at a place.

    >>> value_at(-2.0, "log2"), value_at(2.0, MEMORY), value_at(0.75, "linear")
    (0.25, 0.75, 0.75)
    """
    if scale == MEMORY:
        return float(1 - 2.0**-place)
    return float(2.0**place) if scale == "log2" else float(place)


def two_digits(value: float) -> str:
    """Return a value with two digits; just below 1, with those of its distance to 1.

    >>> two_digits(0.005493), two_digits(0.95288), two_digits(0.99953), two_digits(0.0)
    ('0.0055', '0.953', '0.99953', '0')
    """
    if not 0.5 < value < 1:
        return f"{value:.2g}"
    digits = math.ceil(-math.log10(1 - value)) + 1
    return f"{round(value, digits):.15g}"
