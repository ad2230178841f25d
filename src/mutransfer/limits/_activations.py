"""Activations with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import MutransferError

Array = np.ndarray[Any, np.dtype[np.float64]]
Pointwise = Callable[[Array], Array]

_ERF = np.frompyfunc(math.erf, 1, 1)
_PROBES = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 1.7, 2.6])


@dataclass(frozen=True)
class Activation:
    """An activation, applied entry by entry.

    Attributes:
        name: What it is called.
        value: Maps an array to an array of its shape.
        slope: Its derivative, the same way.

    Raises:
        MutransferError: value or slope is missing, changes the shape, or the slope is not the derivative of the value.
    """

    name: str
    value: Pointwise
    slope: Pointwise

    def __post_init__(self) -> None:
        for what, function in (("value", self.value), ("slope", self.slope)):
            if not callable(function):
                raise MutransferError(
                    f"activation {self.name} has no {what}: give a function of an array; the solvers need both"
                )
        check_slope(f"activation {self.name}", self.value, self.slope)


def check_slope(name: str, value: Pointwise, slope: Pointwise) -> None:
    """Refuse a slope that is not the derivative of the value.

    Raises:
        MutransferError: it is not, or one of the two does not work entry by entry.
    """
    try:
        shapes = {
            what: np.shape(function(_PROBES))
            for what, function in (("value", value), ("slope", slope))
        }
    except (TypeError, ValueError, IndexError) as error:
        raise MutransferError(
            f"{name} does not work on an array, entry by entry: {error}"
        ) from None
    for what, shape in shapes.items():
        if shape != _PROBES.shape:
            raise MutransferError(
                f"the {what} of {name} changes the shape of an array; it must work entry by entry"
            )
    step = 1e-5
    measured, claimed = (value(_PROBES + step) - value(_PROBES - step)) / (2 * step), slope(_PROBES)
    wrong = np.abs(measured - claimed) > 1e-6 * (1 + np.abs(measured))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise MutransferError(
            f"the slope of {name} is not its derivative: at {_PROBES[at]} it is {claimed[at]:g}, "
            f"while the value changes by {measured[at]:g}"
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
    each.name: each
    for each in (
        Activation("linear", lambda x: x, np.ones_like),
        Activation("relu", lambda x: np.maximum(x, 0.0), lambda x: np.heaviside(x, 0.0)),
        Activation("abs", np.abs, np.sign),
        Activation("tanh", np.tanh, lambda x: np.asarray(1 - np.tanh(x) ** 2)),
        Activation("erf", _erf, lambda x: np.asarray(2 / np.sqrt(np.pi) * np.exp(-(x**2)))),
        Activation("gelu", _gelu, _gelu_slope),
    )
}


def activation(given: str | Activation) -> Activation:
    """The activation of this name, or the one given.

    Raises:
        MutransferError: there is none of this name, or a function came without its derivative.
    """
    if isinstance(given, Activation):
        return given
    if isinstance(given, str) and given in ACTIVATIONS:
        return ACTIVATIONS[given]
    if callable(given):
        raise MutransferError(
            "an activation needs its derivative, too: give limits.Activation(name, value, slope), or one of "
            + ", ".join(ACTIVATIONS)
        )
    raise MutransferError(
        f"unknown activation {given!r}; choose one of {', '.join(ACTIVATIONS)}, or give a limits.Activation"
    )
