"""Two programs, operation by operation, and the growth between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

from ..core import MutransferError
from ..reading import Operation, Program, Ref, Value
from ._operations import RESHAPED
from ._pairs import pairs
from ._stars import Stars

Sizes = tuple[int, int]
"""A size in the base and in the other program."""

_EXACT = 1e-9
_SAME_NUMBER = 1e-6


class Growth:
    """The base program with the sizes, numbers and constants of another one beside it.

    A dimension grows if its two sizes differ by a ratio that some parameter, or a part of one, has,
    or by a product or quotient of such ratios. Other sizes that differ depend on data.

    Args:
        base: The program that is walked.
        other: The same architecture at another size, smaller or larger.
        stars: The runs of layers whose number differs.
        counts: Sizes that count something, such as experts, and are no width.
    """

    def __init__(
        self, base: Program, other: Program, stars: Stars, counts: Collection[Sizes] = ()
    ) -> None:
        self.base, self.other, self.stars = base, other, stars
        self.counts, self.concatenated = frozenset(counts), set[Sizes]()
        self.layers: set[tuple[int, int]] = set()  # dimensions that count layers, by value
        self.operation_of: dict[int, Operation] = {}
        self._value_of: dict[int, int] = {}
        self.unpaired: list[int] = []
        self.first_difference = ""
        self._pair()
        self._parameter_sizes, self._ratios = set[Sizes](), {1.0}
        for i in self._parts_of_parameters():
            for pair in zip(base.values[i].shape, self.shape(i), strict=True):
                if pair[0] != pair[1] and 0 not in pair:
                    self._parameter_sizes.add(pair)
                    self._ratios.add(pair[1] / pair[0])
        self._admitted = {a * b for a in self._ratios for b in self._ratios}
        self._admitted |= {a / b for a in self._ratios for b in self._ratios}

    def shape(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value of the base in the other program."""
        other = self.counterpart(value)
        return (other or self.base.values[value]).shape

    def sizes(self, value: int, dims: Sequence[int]) -> Sizes | None:
        """Return the number of entries along dimensions; None where none of them grows."""
        if not any(self.grows(value, d) for d in dims):
            return None
        here, there = self.base.values[value].shape, self.shape(value)
        return math.prod(here[d] for d in dims), math.prod(there[d] for d in dims)

    def grows(self, value: int, dim: int) -> bool:
        """Return True if this dimension of a value grows with the model."""
        pair = self.base.values[value].shape[dim], self.shape(value)[dim]
        if pair[0] == pair[1] or 0 in pair or pair in self.counts or (value, dim) in self.layers:
            return False
        if pair in self._parameter_sizes or pair in self.concatenated:
            return True
        ratio = pair[1] / pair[0]
        return any(abs(ratio - known) < _EXACT for known in self._admitted)

    def growing(self, value: int) -> list[int]:
        """Return the dimensions of a value that grow."""
        return [d for d in range(len(self.base.values[value].shape)) if self.grows(value, d)]

    def number(self, index: int, position: int | str) -> float:
        """Return the ratio of a number among an operation's arguments, other over base.

        Raises:
            MutransferError: its sign changes.
        """
        numbers = self.numbers(index, position)
        if numbers is None or not numbers[0] or not numbers[1]:
            return 1.0
        if numbers[0] * numbers[1] < 0:
            operation = self.base.operations[index]
            where = f" in {operation.module}" if operation.module else ""
            raise MutransferError(
                f"the model multiplies a signal{where} by {numbers[1]:.6g}, the base by "
                f"{numbers[0]:.6g}, and nothing learned can undo this: multiply by the same number "
                "at all sizes"
            )
        ratio = numbers[1] / numbers[0]
        return ratio if not self._reads_values or _is_simple(ratio) else 1.0

    @cached_property
    def _reads_values(self) -> bool:
        """True if the forward pass reads numbers off its signals."""
        return any(op.name == "_local_scalar_dense" for op in self.base.operations)

    def numbers(self, index: int, position: int | str) -> tuple[float, float] | None:
        """Return a number among an operation's arguments, base and other."""
        here, there = self.base.operations[index], self.operation_of.get(index)
        if there is None:
            return None
        a, b = _argument(here, position), _argument(there, position)
        known = isinstance(a, int | float) and isinstance(b, int | float)
        return (a, b) if known and math.isfinite(a) and math.isfinite(b) else None

    def magnitude(self, value: int) -> float:
        """Return the ratio of a constant's entries where one factor explains all; else 1."""
        here, there = self.base.values[value].magnitude, self.counterpart(value)
        if here is None or there is None or there.magnitude is None:
            return 1.0
        ratios = [b / a for a, b in zip(here, there.magnitude, strict=True)]
        alike = max(ratios) - min(ratios) < _SAME_NUMBER * max(ratios)
        return ratios[0] if alike and there.shape == self.base.values[value].shape else 1.0

    def _parts_of_parameters(self) -> list[int]:
        """Return the parameters, and the matrices that are cut from them."""
        found = [i for i, value in enumerate(self.base.values) if value.kind == "parameter"]
        parts = set(found)
        for operation in self.base.operations:
            if operation.name in RESHAPED and operation.inputs[0] in parts:
                new = [i for i in operation.results if i is not None]
                parts.update(new)
                found += new
        return found

    def counterpart(self, value: int) -> Value | None:
        """Return the value of the other program that a value of the base is paired with."""
        index = self.index(value)
        return None if index is None else self.other.values[index]

    def index(self, value: int) -> int | None:
        """Return the index of the value that a value of the base is paired with."""
        return self._value_of.get(value)

    def _pair(self) -> None:
        for i, j in pairs(self.base, self.other, self.stars):
            here, there = self.base.operations[i], self.other.operations[j]
            self.operation_of[i] = there
            for a, b in zip(here.results, there.results, strict=False):
                self._match(a, b)
            for a, b in zip(here.inputs, there.inputs, strict=False):
                self._match(a, b)
        operations = self.base.operations
        self.unpaired = [i for i in range(len(operations)) if i not in self.operation_of]
        if self.unpaired:
            operation = operations[self.unpaired[0]]
            where = f" in {operation.module}" if operation.module else ""
            self.first_difference = f"{operation.name}{where}"
        names = {v.name: i for i, v in enumerate(self.other.values) if v.kind == "parameter"}
        self.new_numbers = self._new_numbers()
        for i, value in enumerate(self.base.values):
            if value.kind == "parameter" and value.name in names:
                self._match(i, names[value.name])
        for a, b in zip(self.base.outputs, self.other.outputs, strict=False):
            self._match(a, b)

    def _new_numbers(self) -> list[float]:
        """Return the numbers of layers that the base lacks, if no paired layer has them."""
        known: dict[tuple[str, str], list[float]] = {}
        for operation in [*self.base.operations, *self.operation_of.values()]:
            known.setdefault(self._kind(operation), []).extend(_factors(operation))
        paired = {id(operation) for operation in self.operation_of.values()}
        return [
            number
            for operation in self.other.operations
            if id(operation) not in paired and self._kind(operation) in known
            for number in _factors(operation)
            if not any(math.isclose(number, each) for each in known[self._kind(operation)])
        ]

    def _kind(self, operation: Operation) -> tuple[str, str]:
        return self.stars.star(operation.module), operation.name

    def _match(self, a: int | None, b: int | None) -> None:
        if a is None or b is None:
            return
        same = len(self.base.values[a].shape) == len(self.other.values[b].shape)
        if same and self.base.values[a].kind == self.other.values[b].kind:
            self._value_of.setdefault(a, b)


def check_same_inputs(base: Program, target: Program) -> None:
    """Raise where the two forward passes took inputs of different shapes.

    Raises:
        MutransferError: naming the shapes.
    """
    shapes = [[v.shape for v in p.values if v.kind == "input"] for p in (base, target)]
    if shapes[0] != shapes[1]:
        raise MutransferError(
            f"the model was read with inputs of shapes {shapes[1]} and the base with {shapes[0]}, "
            "so they are made for different data; build both for the same data, or give "
            "example_inputs= that both take"
        )


def _is_simple(ratio: float) -> bool:
    """Return True for a ratio of sizes: its square is a simple fraction."""
    square = ratio**2
    return math.isclose(float(Fraction(square).limit_denominator(4096)), square, rel_tol=1e-9)


def _factors(operation: Operation) -> list[float]:
    """Return the numbers by which an operation multiplies its only tensor."""
    if operation.name not in {"mul", "div"} or len(operation.inputs) != 1:
        return []
    return [a for a in operation.arguments if isinstance(a, int | float) and a is not True]


def _argument(operation: Operation, position: int | str) -> Any:
    if isinstance(position, str):
        return operation.keywords.get(position)
    arguments = operation.arguments
    found = arguments[position] if position < len(arguments) else None
    return None if isinstance(found, Ref | bool) else found
