"""The factors that each tensor of an architecture should have, written by hand.

A tensor's kind follows from its dimensions: which of them are summed over a growing dimension, and
which are kept. Exponents are those of the width ratio m; in the plain form of maximal update with
Adam a matrix over features starts at m^(-1/2) and learns at 1/m, a readout starts at 1/m and learns
at 1/m, and what sums over nothing that grows keeps both (Tensor Programs V, 2203.03466, Table 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

Shape = tuple[int, ...]
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Kind:
    """Exponents of the width ratio: of the initial scale, one or several right ones, and the rate.

    Attributes:
        init: Right exponents of the initial scale.
        lr: Exponent of Adam's rate.
    """

    init: tuple[float, ...]
    lr: float

    def times(self, exponent: float) -> Kind:
        """Return the kind of a tensor that also carries this power of the width ratio."""
        return Kind(tuple(power + exponent for power in self.init), self.lr + exponent)


VECTOR = Kind((0.0,), 0.0)
"""Nothing that grows is summed: input, embedding, bias, gain, position, depthwise kernel."""
EMBEDDING = POSITION = INPUT = TIED = FINITE = DEPTHWISE = VECTOR
HIDDEN = KEY_VALUE = EXPERT = Kind((-0.5,), -1.0)
"""A growing dimension is summed, and the outputs are features."""
READOUT = Kind((-1.0,), -1.0)
"""A growing dimension is summed, and the outputs are the network's."""
BOTTLENECK = ROUTER = Kind((-0.5, -1.0), -1.0)
"""A growing dimension is summed into finitely many numbers that the network itself uses.

They may start at a fixed size or vanish with width; both have a limit that learns features.
"""
ZERO = Kind((-1.0, -0.5, 0.0), -1.0)
"""A sum over a growing dimension that starts at zero, so that its initial scale is none."""
CARRIES = VECTOR.times(-1)
"""A gain or a bias that carries the logits' 1/m of a tied head."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One right way to scale an architecture.

    Attributes:
        kinds: Kinds by name pattern; the first that matches counts. Other weights follow the layout
            (out, in, *kernel) of linear layers and convolutions.
        ends: Patterns of the tensors that carry a residual branch's multiplier.
        inside: Patterns of the tensors elsewhere in a branch; only where `alpha` is 1/2.
        words: Further kinds, of names that a family of models shares; they need not occur.
        forward: Modules whose outputs are multiplied, by pattern: the exponent of the width ratio,
            and True if a branch's multiplier is in it.
        alpha: Exponent of the branches' multiplier: 1, or 1/2 where each has a single matrix.
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    words: Mapping[str, Kind] = field(default_factory=dict)
    ends: Sequence[str] = ()
    inside: Sequence[str] = ()
    forward: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    alpha: float = 1.0

    def but(
        self, kinds: Mapping[str, Kind] | None = None, ends: Sequence[str] | None = None
    ) -> Truth:
        """Return this truth with these kinds before its own, and other ends."""
        own = {key: kind for key, kind in self.kinds.items() if key not in (kinds or {})}
        return replace(
            self, kinds={**(kinds or {}), **own}, ends=self.ends if ends is None else ends
        )

    def patterns(self) -> Iterator[str]:
        """Yield every pattern of parameter names that has to occur."""
        yield from (*self.kinds, *self.ends, *self.inside)

    def kind(self, name: str, base: Shape, wide: Shape) -> Kind:
        """Return the kind of a tensor.

        Raises:
            LookupError: no pattern matches, and its layout does not say it.
        """
        for pattern, kind in (*self.kinds.items(), *self.words.items()):
            if fnmatchcase(name, pattern):
                return kind
        return by_layout(name, base, wide)

    def factors(
        self, name: str, base: Shape, wide: Shape, width: float, depth: float
    ) -> list[tuple[float, float]]:
        """Return the right pairs of factors, of the initial scale and of the rate.

        Args:
            name: The tensor's name.
            base: Its shape in the base.
            wide: Its shape where only the width has grown.
            width: The width ratio, 1 where no width grows.
            depth: The depth ratio, 1 where no depth grows.
        """
        kind = self.kind(name, base, wide) if width != 1 else VECTOR
        init, lr = 1.0, 1.0
        if matches(name, self.ends):
            init, lr = depth**-self.alpha, depth**-self.alpha
        if matches(name, (*self.ends, *self.inside)):
            lr *= depth ** (self.alpha - 1)
        return [(width**power * init, width**kind.lr * lr) for power in kind.init]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return True if one of the patterns matches the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def by_layout(name: str, base: Shape, wide: Shape) -> Kind:
    """Return the kind of a weight laid out as (out, in, *kernel), if it is no readout.

    Raises:
        LookupError: only its second dimension grows, or a later one: it is a readout, an embedding,
            a bottleneck or something else that has to be stated.
    """
    grown = [before != after for before, after in zip(base, wide, strict=True)]
    if len(base) < 2 or not any(grown[1:]):
        return VECTOR
    if grown[0] and grown[1] and not any(grown[2:]):
        return HIDDEN
    raise LookupError(f"{name}: state its kind, its shape grows from {base} to {wide}")


def close(found: float, right: float) -> bool:
    """Return True if two factors are equal up to rounding."""
    return abs(found - right) <= TOLERANCE * abs(right)
