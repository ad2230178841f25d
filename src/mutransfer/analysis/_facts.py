"""Facts of values: their parameters, and the growth of their entries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ._growth import Sizes

CLOSE = 1e-4
"""Logarithms of ratios below this are rounding."""


class Kind(Enum):
    """Dependence of a value."""

    CONSTANT = "constants alone"
    PARAMETERS = "parameters and constants"
    SIGNAL = "the model's input"


@dataclass(frozen=True, slots=True)
class Cause:
    """An operation that makes entries grow or shrink with the size.

    Attributes:
        kind: "number" or "constant" (the model's own factor), "product" (two signals summed over a
            growing dimension), "sum" (one signal), "terms" (a sum has more of them), "softmax",
            "shares" (a matrix over these), "unit length", "normalised weight" (by its own length)
            or "normalised" (a sum over a normalised weight).
        operation: Its index in the base program.
        sizes: The summed dimension, base and other; None for numbers.
        numbers: The number itself, base and other, where there is one.
    """

    kind: str
    operation: int
    sizes: Sizes | None = None
    numbers: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A parameter inside a value that is made of parameters.

    Attributes:
        dims: For each dimension of the value, the parameter's dimensions that vary along it.
        degree: Degree of homogeneity; 0 where the parameter is normalised.
        positive: The function that left its entries of one sign, as exp; empty where none did.
        stepped: The function that rounded it in steps that are not in proportion to it.
        is_reduced: True if it is a length, a mean or another number of many entries.
        is_added: True if it is in later terms of a sum alone: the first tells the size.
    """

    dims: tuple[frozenset[int], ...]
    degree: float = 1.0
    positive: str = ""
    stepped: str = ""
    is_reduced: bool = False
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """Initial scale of a parameter, as far as its uses tell it.

    Attributes:
        ratio: Its growth.
        summed: The parameter's growing dimensions that are summed with signals.
    """

    ratio: float
    summed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a product of signals and parameters that was not summed yet."""

    kind: Kind
    varies: tuple[bool, ...]
    leaves: Mapping[str, Leaf] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fact:
    """Facts of one value.

    Attributes:
        kind: What it depends on.
        varies: True for the dimensions along which it varies.
        ratio: Size of its entries, other over base, if all parameters so far follow muP.
        leaves: The parameters in a value of parameters.
        causes: What makes the ratio differ from 1.
        product: The factors of a product not yet summed.
        parts: Sizes of the pieces along a concatenated dimension.
        multiplied: Pairs of parameters that multiply each other.
    """

    kind: Kind
    varies: tuple[bool, ...]
    ratio: float = 1.0
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    causes: frozenset[Cause] = frozenset()
    product: tuple[Factor, ...] = ()
    parts: Mapping[int, tuple[Sizes, ...]] = field(default_factory=dict)
    multiplied: frozenset[frozenset[str]] = frozenset()

    @property
    def is_even(self) -> bool:
        """True if its entries have the same size in both programs."""
        return is_one(self.ratio)

    @property
    def is_signal(self) -> bool:
        """True if it depends on the model's input."""
        return self.kind == Kind.SIGNAL

    @property
    def is_learned(self) -> bool:
        """True if it is made of parameters and constants."""
        return self.kind == Kind.PARAMETERS


def is_one(ratio: float) -> bool:
    """Return True for a ratio of 1, but for rounding."""
    return abs(math.log(ratio)) < CLOSE


def dependence(facts: Iterable[Fact]) -> Kind:
    """Return what a function of values depends on."""
    kinds = {fact.kind for fact in facts}
    return next((k for k in (Kind.SIGNAL, Kind.PARAMETERS) if k in kinds), Kind.CONSTANT)


def causes_of(facts: Iterable[Fact]) -> frozenset[Cause]:
    """Return the causes of several values together."""
    return frozenset[Cause]().union(*(fact.causes for fact in facts))


def causes_of_weight(weight: Fact) -> frozenset[Cause]:
    """Return the causes of a weight, whose length is no direction meant as it is."""
    return frozenset(
        replace(cause, kind="normalised weight") if cause.kind == "unit length" else cause
        for cause in weight.causes
    )


def merged(leaves: Iterable[Mapping[str, Leaf]]) -> dict[str, Leaf]:
    """Return the leaves of a sum of values of parameters."""
    found: dict[str, Leaf] = {}
    for each in leaves:
        for name, leaf in each.items():
            known = found.get(name)
            if known is None or len(known.dims) != len(leaf.dims):
                found[name] = leaf
            else:
                dims = tuple(a | b for a, b in zip(known.dims, leaf.dims, strict=True))
                positive = known.positive if leaf.positive else ""
                stepped = known.stepped or leaf.stepped
                found[name] = replace(known, dims=dims, positive=positive, stepped=stepped)
    return found
