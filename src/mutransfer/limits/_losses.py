"""Losses of one output, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core import MutransferError
from ..statistics import Array
from ._activations import check_slope

OfOutput = Callable[[Array, Array], Array]
"""A function of outputs and targets, two arrays of one shape, to an array of that shape."""


@dataclass(frozen=True)
class Loss:
    """A loss l(f, y) of an output f and a target y.

    A loss of the library pickles by its name, any other one if its functions do.

    Attributes:
        name: Name, for messages and JSON.
        value: The losses of outputs and targets, two arrays of one shape.
        slope: The derivative with respect to the output, the same way.

    Raises:
        MutransferError: value or slope changes the shape, or the slope is not the derivative of the
            value, for targets of -1 and 1.
    """

    name: str
    value: OfOutput
    slope: OfOutput

    def __post_init__(self) -> None:
        for target in (-1.0, 1.0):
            value, slope = (partial(_at, f, target) for f in (self.value, self.slope))
            check_slope(f"loss {self.name}", value, slope)

    def __reduce__(self) -> tuple[Any, ...]:
        if LOSSES.get(self.name) is self:
            return loss, (self.name,)
        return Loss, (self.name, self.value, self.slope)


def _at(function: OfOutput, target: float, outputs: Array) -> Array:
    return function(outputs, np.full_like(outputs, target))


def _logistic(f: Array, y: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, -y * f))


def _logistic_slope(f: Array, y: Array) -> Array:
    # -y / (1 + exp(y f)), by tanh, which does not overflow.
    return np.asarray(-y * 0.5 * (1 - np.tanh(0.5 * y * f)))


LOSSES = {
    each.name: each
    for each in (
        Loss("mse", lambda f, y: np.asarray(0.5 * (f - y) ** 2), lambda f, y: f - y),
        Loss("logistic", _logistic, _logistic_slope),
    )
}
"""mse: (f - y)^2 / 2. logistic: log(1 + exp(-y f)), for targets of -1 and 1."""


def loss(given: str | Loss) -> Loss:
    """Return the loss of this name, or the loss itself.

    Raises:
        MutransferError: the name is unknown.
    """
    if isinstance(given, Loss):
        return given
    if isinstance(given, str) and given in LOSSES:
        return LOSSES[given]
    raise MutransferError(
        f"unknown loss {given!r}; choose one of {', '.join(LOSSES)}, "
        "or give a limits.Loss with value and slope"
    )
