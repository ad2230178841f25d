"""Activations with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import MutransferError
from ..statistics import Array

Pointwise = Callable[[Array], Array]
"""A function applied entry by entry: an array to an array of its shape."""

_ERF = np.frompyfunc(math.erf, 1, 1)

# Away from 0, where relu and abs have no derivative; far enough apart to tell functions apart.
_PROBES = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 1.7, 2.6])
_PROBE_STEP = 1e-5
_PROBE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Activation:
    """An activation, applied entry by entry.

    An activation of the library pickles by its name, any other one if its functions do.

    Attributes:
        name: Name, for messages and JSON.
        value: The function, from an array to an array of its shape.
        slope: Its derivative, the same way.

    Raises:
        MutransferError: value or slope is missing, changes the shape, or the slope is not the
            derivative of the value.
    """

    name: str
    value: Pointwise
    slope: Pointwise

    def __post_init__(self) -> None:
        for what, function in (("value", self.value), ("slope", self.slope)):
            if not callable(function):
                raise MutransferError(
                    f"activation {self.name} has no {what}: give a function of an array; "
                    "the solvers need both"
                )
        check_slope(f"activation {self.name}", self.value, self.slope)

    def __reduce__(self) -> tuple[Any, ...]:
        # Solvers know the library's own activations by identity, which must survive pickling.
        if ACTIVATIONS.get(self.name) is self:
            return activation, (self.name,)
        return Activation, (self.name, self.value, self.slope)


def check_slope(name: str, value: Pointwise, slope: Pointwise) -> None:
    """Raise unless the slope is the derivative of the value.

    Args:
        name: Name of the pair, for messages.
        value: A function of an array.
        slope: Its supposed derivative.

    Raises:
        MutransferError: it is not the derivative, or one of the two does not work entry by entry.
    """
    try:
        shapes = {"value": np.shape(value(_PROBES)), "slope": np.shape(slope(_PROBES))}
    except (TypeError, ValueError, IndexError) as error:
        raise MutransferError(
            f"{name} does not work on an array, entry by entry: {error}"
        ) from None
    for what, shape in shapes.items():
        if shape != _PROBES.shape:
            raise MutransferError(
                f"the {what} of {name} changes the shape of an array; it must work entry by entry"
            )
    above, below = value(_PROBES + _PROBE_STEP), value(_PROBES - _PROBE_STEP)
    measured, claimed = (above - below) / (2 * _PROBE_STEP), slope(_PROBES)
    wrong = np.abs(measured - claimed) > _PROBE_TOLERANCE * (1 + np.abs(measured))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise MutransferError(
            f"the slope of {name} is not its derivative: at {_PROBES[i]} it is {claimed[i]:g}, "
            f"while the value changes by {measured[i]:g}"
        )


def _erf(x: Array) -> Array:
    return np.asarray(_ERF(x), dtype=np.float64)


def _normal_density(x: Array) -> Array:
    return np.asarray(np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi))


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + _erf(x / np.sqrt(2)))


def _gelu_slope(x: Array) -> Array:
    return 0.5 * (1 + _erf(x / np.sqrt(2))) + x * _normal_density(x)


ACTIVATIONS = {
    phi.name: phi
    for phi in (
        Activation("linear", lambda x: x, np.ones_like),
        Activation("relu", lambda x: np.maximum(x, 0.0), lambda x: np.heaviside(x, 0.0)),
        Activation("abs", np.abs, np.sign),
        Activation("tanh", np.tanh, lambda x: np.asarray(1 - np.tanh(x) ** 2)),
        Activation("erf", _erf, lambda x: np.asarray(2 / np.sqrt(np.pi) * np.exp(-(x**2)))),
        Activation("gelu", _gelu, _gelu_slope),
    )
}
"""The activations of the library, by name."""


def activation(given: str | Activation) -> Activation:
    """Return the activation of this name, or the activation itself.

    Raises:
        MutransferError: the name is unknown, or a function came without its derivative.
    """
    if isinstance(given, Activation):
        return given
    if isinstance(given, str) and given in ACTIVATIONS:
        return ACTIVATIONS[given]
    names = ", ".join(ACTIVATIONS)
    if callable(given):
        raise MutransferError(
            "an activation needs its derivative, too: "
            f"give limits.Activation(name, value, slope), or one of {names}"
        )
    raise MutransferError(
        f"unknown activation {given!r}; choose one of {names}, or give a limits.Activation"
    )
