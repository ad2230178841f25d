"""Values of all layers side by side in one tensor, as torch.stack makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..reading import Operation, Ref
from ._movement import sources
from ._operations import (
    BOUNDED,
    COPIES,
    FACTORS,
    NONLINEAR,
    PRODUCTS,
    REDUCTIONS,
    RESHAPED,
    SLICES,
    SOFTMAXES,
    VIEWS,
    words,
)
from ._sides import ADDED, Side, sides_of
from ._signals import Signals

MOVES = (RESHAPED | COPIES | {"expand", "expand_as"}) - SLICES
"""Operations that move whole values."""

_BY_ENTRY = FACTORS | words("add sub relu leaky_relu abs") | (NONLINEAR - {"glu"}) | BOUNDED
_LAST_NORMS = words("native_layer_norm _fused_rms_norm rms_norm")


@dataclass(frozen=True, slots=True)
class Term:
    """One origin in a sum.

    Attributes:
        factor: Sum of the factors with which it is added.
        paths: Number of times that it is added.
        made: Values that start it, as bits.
    """

    factor: float
    paths: int
    made: int

    def plus(self, other: Term) -> Term:
        """Return both as one."""
        made = self.made | other.made
        return Term(self.factor + other.factor, self.paths + other.paths, made)


Terms = Mapping[object, Term]
"""The terms of a value, by their origins."""
Origin = Callable[[Operation, tuple[Terms, ...]], object]
"""The origin of what an operation makes of values with these terms."""


@dataclass(frozen=True, slots=True)
class Layered:
    """The layers in a value.

    Attributes:
        dim: The dimension along which they lie, its other entries inside.
        terms: The terms of each.
        copies: The values that were put side by side; none where they went through a function.
        is_weighted: True if constants multiply each layer by a number of its own.
    """

    dim: int
    terms: tuple[Terms, ...]
    copies: tuple[int, ...] = ()
    is_weighted: bool = False

    @property
    def is_alike(self) -> bool:
        """True if all layers have the same origins."""
        origins = {frozenset(terms) for terms in self.terms}
        return len(self.terms) > 1 and len(origins) == 1 and origins != {frozenset()}


class Layers:
    """The layers in every value of a forward pass, as far as they stay apart.

    Args:
        signals: The forward pass.
        terms: The terms of each value so far.
        origin: The origin of a result.
    """

    def __init__(self, signals: Signals, terms: list[Terms], origin: Origin) -> None:
        self.signals, self.program = signals, signals.program
        self.of: dict[int, Layered] = {}
        self.mixtures: dict[int, Layered] = {}  # products with a learned number for each
        self.weighted: dict[int, Layered] = {}  # sums with a constant number for each
        self.own: dict[int, Layered] = {}  # products with a learned vector for each
        self._terms, self._origin = terms, origin

    def note(self, operation: Operation, result: int) -> None:
        """Note the layers in a result, if there are any."""
        found = self._stacked(operation)
        inside = [i for i in operation.inputs if i in self.of]
        if inside and operation.name in MOVES:
            found = self._passed(operation, result)
        elif inside and (factor := number(operation)) is not None:
            one = self.of[inside[0]]
            found = replace(one, terms=tuple(times(terms, factor) for terms in one.terms))
        elif inside:
            found = self._mapped(operation, result, inside)
        if found is not None:
            self.of[result] = found

    def added(self, operation: Operation, result: int) -> Layered | None:
        """Return the layers that a sum or mean adds; None for what adds none."""
        layered = self.of.get(operation.inputs[0]) if operation.inputs else None
        if layered is None or operation.name not in {"sum", "mean"}:
            return None
        dims = self._reduced(operation)
        if layered.dim not in dims or self._size(operation.inputs[0], layered) != 1:
            return None
        if layered.is_weighted:
            self.weighted[result] = layered
        if len(dims) > 1:
            layered = self._renewed(operation, result, layered.dim, len(layered.terms))
        return layered

    def mixed(self, operation: Operation, result: int) -> None:
        """Note a product of matrices that sums over layers."""
        if operation.name not in PRODUCTS - ADDED:
            return
        one, other = sides_of(operation)
        for side, weights in ((one, other), (other, one)):
            layered = self.of.get(side.value)
            apart = layered is not None and self._size(side.value, layered) == 1
            if layered is None or not apart or side.summed != (layered.dim,):
                continue
            if self.signals.is_constant(weights.value):
                self.weighted[result] = layered
            elif self._is_vector(weights.value, layered):
                self.mixtures[result] = layered

    def _is_vector(self, value: int, layered: Layered) -> bool:
        """Return True for a learned vector with one number for each layer."""
        size = math.prod(self._shape(value))
        return self.signals.is_weight(value) and size == len(layered.terms)

    def _shape(self, value: int) -> tuple[int, ...]:
        return self.program.values[value].shape

    def _size(self, value: int, layered: Layered) -> int:
        """Return the number of entries of each layer along its dimension."""
        return self._shape(value)[layered.dim] // len(layered.terms)

    def _stacked(self, operation: Operation) -> Layered | None:
        result = operation.results[0] if operation.name in {"stack", "cat"} else None
        if result is None or len({self._shape(i) for i in operation.inputs}) != 1:
            return None
        last = operation.arguments[1] if len(operation.arguments) > 1 else 0
        at = int(last) % len(self._shape(result))
        values = operation.inputs
        return Layered(at, tuple(self._terms[i] for i in values), copies=values)

    def _passed(self, operation: Operation, result: int) -> Layered | None:
        value = operation.inputs[0]
        layered = self.of.get(value)
        before, after = self._shape(value), self._shape(result)
        whole = math.prod(before) == math.prod(after) or operation.name.startswith("expand")
        if layered is None or not whole:
            return None
        where = sources(operation, before, after)
        dims = [k for k, source in enumerate(where) if layered.dim in source]
        # The layers have to be the outermost of what lies along one dimension.
        outer = (before[d] for k in dims[:1] for d in where[k] if d < layered.dim)
        if not dims or any(size > 1 for size in outer):
            return None
        apart = len(dims) == 1 or after[dims[0]] == len(layered.terms)
        return replace(layered, dim=dims[0]) if apart else None

    def _mapped(self, operation: Operation, result: int, inside: list[int]) -> Layered | None:
        """Return the layers of a function of each layer."""
        numbers = {len(self.of[i].terms) for i in inside}
        places = {self._place(operation, result, i, self.of[i].dim) for i in inside}
        place = places.pop() if len(places) == len(numbers) == 1 else None
        if place is None:
            return None
        fixed = any(self.of[i].is_weighted for i in inside)
        for value in self._beside(operation, result, place, inside):
            if self.signals.is_constant(value) and operation.name in FACTORS:
                fixed = True
            elif not self._is_vector(value, self.of[inside[0]]):
                apart = self._size(inside[0], self.of[inside[0]]) == 1
                if self.signals.is_weight(value) and operation.name in FACTORS and apart:
                    self.own[result] = self.of[inside[0]]
                return None
        return replace(self._renewed(operation, result, place, numbers.pop()), is_weighted=fixed)

    def _renewed(self, operation: Operation, result: int, dim: int, number: int) -> Layered:
        """Return the layers with an origin of their own, that of a function of each."""
        made = []
        for k in range(number):
            taken = (
                self.of[i].terms[k] if i in self.of else self._terms[i] for i in operation.inputs
            )
            made.append({self._origin(operation, tuple(taken)): Term(1.0, 1, 1 << result)})
        return Layered(dim, tuple(made))

    def _beside(
        self, operation: Operation, result: int, place: int, inside: list[int]
    ) -> Iterator[int]:
        """Yield the other values that differ from layer to layer."""
        n = len(self._shape(result))
        for value in operation.inputs:
            shape = self._shape(value)
            sides = sides_of(operation) if operation.name in PRODUCTS else ()
            side = next((side for side in sides if side.value == value), None)
            at = place - n + len(shape)
            if side is not None:
                kept = side.kept[place]
                at = -1 if kept is None else kept
            if value not in inside and at >= 0 and shape[at] > 1:
                yield value

    def _place(self, operation: Operation, result: int, value: int, dim: int) -> int | None:
        """Return the dimension of a result along which the layers of a value lie."""
        name, before, after = operation.name, self._shape(value), self._shape(result)
        place: int | None = None
        if name in PRODUCTS:
            sides = [side for side in sides_of(operation) if side.value == value]
            place = _kept(sides[0], dim) if len(sides) == 1 else None
        elif name in REDUCTIONS:
            dims = self._reduced(operation)
            gone = sum(d < dim for d in dims) if len(after) < len(before) else 0
            place = None if dim in dims else dim - gone
        elif name in _BY_ENTRY:
            place = dim + len(after) - len(before)
        elif name in _LAST_NORMS and isinstance(operation.arguments[1], tuple):
            place = dim if dim < len(before) - len(operation.arguments[1]) else None
        kept = place is not None and place < len(after) and after[place] == before[dim]
        return place if kept else None

    def _reduced(self, operation: Operation) -> set[int]:
        n = len(self._shape(operation.inputs[0]))
        dims = operation.arguments[1] if len(operation.arguments) > 1 else None
        chosen = dims if isinstance(dims, tuple) and dims else (dims,)
        whole = any(not isinstance(d, int) or isinstance(d, bool) for d in chosen)
        return set(range(n)) if whole else {d % n for d in chosen}


def _kept(side: Side, dim: int) -> int | None:
    return side.kept.index(dim) if dim in side.kept else None


def softmax_of(signals: Signals, value: int) -> int | None:
    """Return the softmax of a learned vector that a weight has its entries of."""
    program = signals.program
    while signals.is_weight(value) and (operation := program.makers.get(value)) is not None:
        if operation.name in SOFTMAXES:
            shape = program.values[value].shape
            dim = operation.arguments[1] if len(operation.arguments) > 1 else -1
            return value if shape and shape[int(dim)] == math.prod(shape) else None
        if operation.name not in VIEWS | COPIES | FACTORS:
            return None
        # A number for all layers may multiply the shares.
        value = max(operation.inputs, key=lambda i: math.prod(program.values[i].shape))
    return None


def times(terms: Terms, factor: float) -> Terms:
    """Return terms with their factors multiplied."""
    if factor == 1:
        return terms
    return {o: replace(term, factor=term.factor * factor) for o, term in terms.items()}


def number(operation: Operation) -> float | None:
    """Return the number by which an operation multiplies its only tensor."""
    if operation.name not in {"mul", "div"} or len(operation.arguments) < 2:
        return None
    value, factor = operation.arguments[:2]
    if not isinstance(value, Ref) or not isinstance(factor, int | float):
        return None
    return float(factor) if operation.name == "mul" else 1 / factor if factor else 0.0
