"""Losses of one output, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..core import MutransferError
from ._activations import Array, check_slope


@dataclass(frozen=True)
class Loss:
    """A loss l(f, y) of an output f and a target y.

    Attributes:
        name: What it is called.
        value: Maps outputs and targets, two arrays of one shape, to losses of that shape.
        slope: The derivative with respect to the output, the same way.

    Raises:
        MutransferError: value or slope changes the shape, or the slope is not the derivative of the value, for targets of -1 and 1.
    """

    name: str
    value: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]

    def __post_init__(self) -> None:
        for target in (-1.0, 1.0):
            check_slope(
                f"loss {self.name}",
                partial(_at, self.value, target),
                partial(_at, self.slope, target),
            )


def _at(function: Callable[[Array, Array], Array], target: float, outputs: Array) -> Array:
    return function(outputs, np.full_like(outputs, target))


LOSSES = {
    each.name: each
    for each in (
        Loss("mse", lambda f, y: np.asarray(0.5 * (f - y) ** 2), lambda f, y: f - y),
        Loss(
            "logistic",
            lambda f, y: np.logaddexp(0.0, -y * f),
            lambda f, y: np.asarray(-y * 0.5 * (1 - np.tanh(0.5 * y * f))),
        ),
    )
}
"""mse: (f - y)^2 / 2. logistic: log(1 + exp(-y f)), for targets of -1 and 1."""


def loss(given: str | Loss) -> Loss:
    """The loss of this name, or the one given.

    Raises:
        MutransferError: there is none of this name.
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, str) and given in LOSSES:
        return LOSSES[given]
    raise MutransferError(
        f"unknown loss {given!r}; choose one of {', '.join(LOSSES)}, or give a limits.Loss with value and slope"
    )
