"""One pass over the operations of the base: uses of parameters, and findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..reading import Operation
from ._choices import tables
from ._facts import Cause, Drawn, Fact, Kind, Leaf, is_one
from ._growth import Growth, Sizes
from ._movement import moved, sources
from ._signals import Signals


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a parameter.

    Attributes:
        kind: "contraction" (summed with something), "lookup" (its rows are picked) or "vector"
            (added, multiplied, or anything else entry by entry).
        operation: Index of the operation in the base program.
        result: The value that it makes.
        fan: Entries that are summed, base and other; None where the sum does not grow.
        kept: The growing dimensions that stay.
        growing: The parameter's dimensions that run along growing ones, summed or not.
        summed: The parameter's dimensions that are summed.
        stays: The parameter's dimensions that stay.
        operand: The value that it is summed with.
        is_normalised: True where its scale does not matter.
        positive: The function that left its entries of one sign, as in `Leaf`.
        stepped: The function that rounded it, as in `Leaf`.
        others_grow: True if other parameters of the same weight have growing dimensions that stay.
        joint: The matrices that multiply it entry by entry along the summed dimension.
        parts: The pieces of the summed dimension, where it is concatenated.
        with_constant: True if it is summed with constants.
        is_square: True if its square is summed, as in the length of a modulated weight.
        is_generated: True if a signal that has its entries, as a mixture of matrices, is summed.
        is_reduced: True if its own growing entries were summed before, as in a length.
    """

    kind: str
    operation: int
    result: int
    fan: Sizes | None = None
    kept: tuple[Sizes, ...] = ()
    growing: frozenset[int] = frozenset()
    summed: frozenset[int] = frozenset()
    stays: frozenset[int] = frozenset()
    operand: int | None = None
    is_normalised: bool = False
    positive: str = ""
    stepped: str = ""
    others_grow: bool = False
    joint: frozenset[str] = frozenset()
    parts: tuple[Sizes, ...] = ()
    with_constant: bool = False
    is_square: bool = False
    is_generated: bool = False
    is_reduced: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A value whose entries would not have the base's size.

    Attributes:
        place: What needs them: "output", "a sum with another signal", or an operation's name.
        value: The value in the base program.
        ratio: Their size, other over base.
        causes: Why.
    """

    place: str
    value: int
    ratio: float
    causes: frozenset[Cause]


class Walk:
    """Facts of every value of the base, gathered operation by operation.

    Args:
        growth: The base with another size beside it.
        drawn: The initial scales of parameters, where they are known.
    """

    def __init__(self, growth: Growth, drawn: Mapping[str, Drawn] | None = None) -> None:
        self.growth, self.program = growth, growth.base
        self.drawn, self.measured = drawn or {}, set[str]()
        self.signals = Signals(self.program)
        self.uses: dict[str, list[Use]] = {}
        self.findings: list[Finding] = []
        self.unknown: list[tuple[int, str]] = []
        self.fixed: list[int] = []
        self.chosen: list[int] = []
        self.short: list[int] = []
        self.mixing: set[int] = set()  # logits of a softmax over layers
        self.picked: dict[str, set[int]] = {}
        self.tables = tables(self.signals)
        self.causes: dict[int, frozenset[Cause]] = {}
        self.ratios: dict[int, float] = {}
        self._facts: dict[int, Fact] = {}

    def fact(self, value: int) -> Fact:
        """Return what is known of a value."""
        if value not in self._facts:
            self._facts[value] = self._source(value)
        return self._facts[value]

    def learn(self, value: int, fact: Fact) -> None:
        """Note what is known of a result; causes that cancel are none.

        Places, which are no features, have no size.
        """
        is_place = fact.is_signal and not self.program.values[value].is_float
        if is_place or (fact.is_even and fact.causes):
            fact = even(fact)
        self._facts[value] = fact
        self.causes[value], self.ratios[value] = fact.causes, fact.ratio

    def shape(self, value: int) -> tuple[int, ...]:
        """Return the base's shape of a value."""
        return self.program.values[value].shape

    def full(self, value: int) -> tuple[bool, ...]:
        """Return that a value varies along every dimension that it has."""
        return tuple(size > 1 for size in self.shape(value))

    def constant(self, value: int) -> Fact:
        """Return the fact of a constant."""
        return Fact(Kind.CONSTANT, self.full(value), self.growth.magnitude(value))

    def moved(self, operation: Operation, value: int, result: int) -> Fact:
        """Return what is known of a view or a broadcast copy of a value."""
        after = self.shape(result)
        return moved(self.fact(value), sources(operation, self.shape(value), after), after)

    def kept(self, value: int, leaf: Leaf, dims: Iterable[int] | None = None) -> tuple[Sizes, ...]:
        """Return the sizes of the growing dimensions that a parameter varies along."""
        chosen = range(len(leaf.dims)) if dims is None else dims
        here, there = self.shape(value), self.growth.shape(value)
        return tuple(
            (here[d], there[d])
            for d in chosen
            if d < len(leaf.dims) and leaf.dims[d] and self.growth.grows(value, d)
        )

    def use(self, name: str, use: Use) -> None:
        """Note one use of a parameter."""
        self.uses.setdefault(name, []).append(use)

    def grown(self, name: str) -> frozenset[int]:
        """Return the dimensions of a parameter that grow."""
        return frozenset(self.growth.growing(self.program.parameters[name]))

    def growing(self, value: int, leaf: Leaf, dims: Iterable[int] | None = None) -> frozenset[int]:
        """Return the parameter's dimensions that run along growing dimensions of a value."""
        chosen = range(len(leaf.dims)) if dims is None else dims
        grown = (leaf.dims[d] for d in chosen if d < len(leaf.dims) and self.growth.grows(value, d))
        return frozenset[int]().union(*grown)

    def vector_use(
        self, index: int, value: int, result: int, kind: str = "vector", picked: int | None = None
    ) -> None:
        """Note that every parameter in a value is used entry by entry.

        Args:
            index: The operation.
            value: The value of parameters.
            result: What the operation makes.
            kind: "vector" or "lookup".
            picked: The dimension whose rows are looked up.
        """
        for name, leaf in self.fact(value).leaves.items():
            dims = [d for d in range(len(leaf.dims)) if d != picked]
            stays = frozenset[int]().union(*(leaf.dims[d] for d in dims))
            kept, growing = self.kept(value, leaf, dims), self.growing(value, leaf, dims)
            use = Use(kind, index, result, kept=kept, growing=growing, stays=stays)
            gone = self.grown(name) - frozenset[int]().union(*leaf.dims)
            self.use(name, replace(use, is_reduced=bool(gone and stays)))

    def check(self, value: int, place: str) -> bool:
        """Note a finding where a signal's entries differ in size, then correct them.

        Returns:
            True where they differ and nothing can correct them.
        """
        fact = self.fact(value)
        if fact.kind == Kind.CONSTANT or fact.is_even:
            return False
        causes = {cause.kind for cause in fact.causes}
        # As an output, a vector of unit length and weights that sum to one are meant as they are.
        shares = causes <= {"softmax"} and place == "output"
        directions = causes <= {"unit length", "softmax"} and fact.ratio < 1
        meant = not causes or shares or (directions and not self.can_scale(value))
        if not meant:
            self.findings.append(Finding(place, value, fact.ratio, fact.causes))
        self._facts[value] = even(fact)
        return meant

    def can_scale(self, value: int) -> bool:
        """Return True if parameters could multiply this signal."""
        return bool(self.signals.ends(value))

    def _source(self, value: int) -> Fact:
        source = self.program.values[value]
        if source.kind == "parameter":
            dims = tuple(
                frozenset({d}) if size > 1 else frozenset[int]()
                for d, size in enumerate(source.shape)
            )
            return Fact(Kind.PARAMETERS, self.full(value), leaves={source.name: Leaf(dims)})
        if source.kind == "input":
            return Fact(Kind.SIGNAL, self.full(value))
        return self.constant(value)


def even(fact: Fact) -> Fact:
    """Return the fact of a value after its size was corrected."""
    return Fact(
        kind=fact.kind,
        varies=fact.varies,
        leaves=fact.leaves,
        product=fact.product,
        parts=fact.parts,
        multiplied=fact.multiplied,
    )


def scaled(fact: Fact, ratio: float, *causes: Cause) -> Fact:
    """Return the fact of a value times a number, with its causes if it is not 1."""
    if is_one(ratio):
        return fact
    return Fact(
        kind=fact.kind,
        varies=fact.varies,
        ratio=fact.ratio * ratio,
        leaves=fact.leaves,
        causes=fact.causes | frozenset(causes),
        product=fact.product,
        parts=fact.parts,
        multiplied=fact.multiplied,
    )
