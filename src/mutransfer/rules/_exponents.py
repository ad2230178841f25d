"""Exponents in width: abc-parametrizations, and those that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..core import MutransferError
from ._powers import Exponent, exact

_HALF = Fraction(1, 2)


@dataclass(frozen=True, init=False)
class ABC:
    """The exponents of a network with L hidden layers of width n, trained by SGD.

    The matrix of layer l is W = n^-a w. The tensor w is trained, starts with entries from
    N(0, n^-2b) and has the rate n^-c (Tensor Programs IV, 2011.14522). Layers are 1 (input), 2..L
    and L + 1 (readout), so there are L + 1 matrices. The paper has one c for all layers; here each
    may have its own.

    >>> from mutransfer.rules import classify
    >>> mup = ABC(a=("-1/2", 0, "1/2"), b=("1/2", "1/2", "1/2"), c=0)
    >>> classify(mup).verdict
    'feature learning, maximal update'

    Attributes:
        a: Exponents of the multipliers, one a layer.
        b: Exponents of the initial standard deviations, one a layer.
        c: Exponents of the learning rates, one a layer.
    """

    a: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    c: tuple[Fraction, ...]

    def __init__(
        self, a: Sequence[Exponent], b: Sequence[Exponent], c: Exponent | Sequence[Exponent]
    ) -> None:
        """Take ints, fractions and text such as "-1/2"; a single c holds for all layers.

        Raises:
            MutransferError: something is no rational number, the lengths differ, or there are fewer
                than two layers.
        """
        multipliers = _sequence("a", a)
        if len(multipliers) < 2:
            raise MutransferError(
                f"a has {len(multipliers)} layers; a network has two or more, the input and the "
                "readout included"
            )
        object.__setattr__(self, "a", multipliers)
        object.__setattr__(self, "b", _as_long("b", _sequence("b", b), multipliers))
        object.__setattr__(self, "c", _spread("c", c, multipliers))

    def shifted(self, theta: Exponent | Sequence[Exponent]) -> ABC:
        """Return equal training in other words: a + theta, b - theta, c - 2 theta.

        Args:
            theta: One for all layers, or one for each.

        Raises:
            MutransferError: theta is no rational number, or has another number of layers.
        """
        by = _spread("theta", theta, self.a)
        return ABC(
            a=[a + t for a, t in zip(self.a, by, strict=True)],
            b=[b - t for b, t in zip(self.b, by, strict=True)],
            c=[c - 2 * t for c, t in zip(self.c, by, strict=True)],
        )


def known_points(hidden_layers: int) -> dict[str, ABC]:
    """Return the parametrizations that have a name (Tensor Programs IV, 2011.14522).

    They are `sp` (standard, a constant rate), `sp-1/n` (standard, rate 1/n), `ntk` (neural
    tangent), `mup` (maximal update) and, for one hidden layer, `mean-field`.

    Args:
        hidden_layers: Number of hidden layers.

    Raises:
        MutransferError: there is no hidden layer.
    """
    if isinstance(hidden_layers, bool) or not isinstance(hidden_layers, int) or hidden_layers < 1:
        raise MutransferError(
            f"hidden_layers is {hidden_layers!r}; it must be a whole number, 1 or more"
        )
    zeros, halves = (0,) * hidden_layers, (_HALF,) * hidden_layers
    points = {
        "sp": ABC(a=(0, *zeros), b=(0, *halves), c=0),
        "sp-1/n": ABC(a=(0, *zeros), b=(0, *halves), c=1),
        "ntk": ABC(a=(0, *halves), b=(0, *zeros), c=0),
        "mup": ABC(a=(-_HALF, *zeros[1:], _HALF), b=(_HALF, *halves), c=0),
    }
    if hidden_layers == 1:
        points["mean-field"] = ABC(a=(0, 1), b=(0, 0), c=-1)
    return points


def _sequence(name: str, values: Sequence[Exponent]) -> tuple[Fraction, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise MutransferError(f"{name} is {values!r}; give a list of exponents, one a layer")
    return tuple(
        exact(f"{name} of layer {layer}", value) for layer, value in enumerate(values, start=1)
    )


def _as_long(
    name: str, values: tuple[Fraction, ...], a: tuple[Fraction, ...]
) -> tuple[Fraction, ...]:
    if len(values) != len(a):
        raise MutransferError(
            f"{name} has {len(values)} layers and a has {len(a)}; give one exponent a layer in both"
        )
    return values


def _spread(
    name: str, value: Exponent | Sequence[Exponent], a: tuple[Fraction, ...]
) -> tuple[Fraction, ...]:
    """Return one exponent for each layer."""
    if isinstance(value, (int, Fraction, str)) or not isinstance(value, Sequence):
        return (exact(name, value),) * len(a)
    return _as_long(name, _sequence(name, value), a)
