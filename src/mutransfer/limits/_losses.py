"""Losses of one output, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._errors import MutransferError
from ._activations import Array


@dataclass(frozen=True)
class Loss:
    """A loss l(f, y) of an output f and a target y.

    Attributes:
        name: What it is called.
        value: Maps outputs and targets, two arrays of one shape, to losses of that shape.
        slope: The derivative with respect to the output, the same way.
    """

    name: str
    value: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]


LOSSES = {
    each.name: each
    for each in (
        Loss("mse", lambda f, y: np.asarray(0.5 * (f - y) ** 2), lambda f, y: f - y),
        Loss("logistic", lambda f, y: np.logaddexp(0.0, -y * f), lambda f, y: np.asarray(-y * 0.5 * (1 - np.tanh(0.5 * y * f)))),
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
    if given in LOSSES:
        return LOSSES[given]
    raise MutransferError(f"unknown loss {given!r}; choose one of {', '.join(LOSSES)}, or give a limits.Loss with value and slope")
