"""Constants that fix the size of a signal, as 1 in y / (1 + |y|)."""

from __future__ import annotations

from collections.abc import Iterable

from ..reading import Operation
from ._facts import Kind, is_one
from ._walk import Walk

EXTREMES = frozenset({"max", "min", "maximum", "minimum", "fmax", "fmin"})
"""Choices between two values, entry by entry."""

_SMALL, _LARGE = 1e-2, 1e4
"""Constants up to the first are an eps beside entries of order one; from the second on, masks."""


def beside_numbers(
    walk: Walk, index: int, operation: Operation, positions: Iterable[int | str]
) -> None:
    """Check the signal of an operation with numbers among its arguments."""
    for position in positions:
        base, other = walk.growth.numbers(index, position) or (0, 0)
        if base and other:
            size, ratio = max(abs(base), abs(other)), abs(other / base)
            _beside(walk, index, operation.inputs[0], size, ratio)


def beside_tensor(walk: Walk, index: int, values: Iterable[int]) -> None:
    """Check the only signal of an operation that takes tensors of constants, too."""
    facts = {value: walk.fact(value) for value in values}
    signals = [value for value, fact in facts.items() if fact.is_signal]
    constants = [value for value, fact in facts.items() if fact.kind == Kind.CONSTANT]
    for constant in constants if len(signals) == 1 else ():
        magnitude = walk.program.values[constant].magnitude
        if magnitude is not None:
            _beside(walk, index, signals[0], max(magnitude), facts[constant].ratio)


def _beside(walk: Walk, index: int, value: int, size: float, ratio: float) -> None:
    """Check a signal beside a constant of this size, unless both grow alike."""
    fact = walk.fact(value)
    if not fact.is_signal or not _SMALL < size < _LARGE or is_one(fact.ratio / ratio):
        return
    if walk.check(value, "a constant"):
        walk.short.append(index)
