"""Fates of values: the operations that they end in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..reading import Operation
from ._operations import (
    CONVOLUTIONS,
    COPIES,
    KEPT,
    LOG_SOFTMAXES,
    NORMS,
    PRODUCTS,
    SLICES,
    SOFTMAXES,
    VIEWS,
)
from ._sides import ADDED
from ._walk import Walk

_SMALL = 1e-2
"""Numbers beside a length that only keep it from zero are below this."""


def fate(walk: Walk, value: int) -> set[str]:
    """Return the ends of a value.

    "output", "direction" (divided by its length), "softmax" (by hand: exp), "topk", "norm",
    "matrix" (summed with something), "factor" (multiplied with a learned signal) and "width" (put
    side by side along a growing dimension). Functions of entries are passed.
    """
    program, found = walk.program, set[str]()
    todo, seen = [value], set[int]()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        if at in program.outputs:
            found.add("output")
        for operation in walk.signals.users[at]:
            name, inputs = operation.name, operation.inputs
            if name in NORMS:
                found.add("norm")
            elif name in SOFTMAXES or name == "exp":
                found.add("softmax")
            elif name in {"topk", "sort", "argsort"}:
                found.add("topk")
            elif name in PRODUCTS | CONVOLUTIONS and at not in _added(name, inputs):
                found.add("matrix")
            elif name == "mul" and _is_factor(walk, at, inputs):
                found.add("factor")
            elif name == "div" and _is_factor(walk, at, inputs):
                found.add("direction")
            elif name in {"cat", "stack"} and any(map(_grown(walk), operation.results)):
                found.add("width")
            else:
                todo += [i for i in operation.results if i is not None]
            if name in LOG_SOFTMAXES:
                found.add("output")
    return found


def is_split_into_output(walk: Walk, value: int) -> bool:
    """Return True where a part of a fixed size is cut off a value, and is an output."""
    for operation in _reached(walk, value, VIEWS | COPIES | {"add"}):
        if operation.name not in SLICES:
            continue
        grown = len(walk.growth.growing(operation.inputs[0]))
        for part in (i for i in operation.results if i is not None):
            shrinks = len(walk.growth.growing(part)) < grown and 0 not in walk.shape(part)
            if shrinks and "output" in fate(walk, part):
                return True
    return False


def _is_factor(walk: Walk, value: int, inputs: tuple[int, ...]) -> bool:
    """Return True for a product with another learned signal, not data alone."""
    signals = walk.signals
    others = [i for i in inputs if i != value]
    return any(signals.is_signal[i] and signals.is_learned[i] for i in others)


def _added(name: str, inputs: tuple[int, ...]) -> tuple[int, ...]:
    return inputs[:1] if name in ADDED else ()


def _grown(walk: Walk) -> Callable[[int | None], bool]:
    return lambda i: i is not None and bool(walk.growth.growing(i))


def is_key_value(walk: Walk, value: int) -> bool:
    """Return True for keys or values of an attention.

    They reach a product of two signals through moves, numbers and norms alone. The product of keys
    is compared by a softmax, that of values takes a softmax's shares.
    """
    passed = KEPT | NORMS | {"mul", "add", "sub", "cat", "stack", "div"}
    for operation in _reached(walk, value, passed):
        signals = [i for i in operation.inputs if walk.fact(i).is_signal]
        if operation.name in {"bmm", "baddbmm"} and len(signals) == 2:
            shares = any(_is_shares(walk, i) for i in signals)
            if shares or "softmax" in fate(walk, operation.results[0] or 0):
                return True
    return False


def is_divided_by_length(walk: Walk, value: int) -> bool:
    """Return True for what is divided by its length, or a sum of its entries."""
    signals = walk.signals
    return any(
        all(signals.ancestors[i] >> value & 1 for i in operation.inputs)
        and not _has_offset(walk, operation.inputs[1])
        for operation in _reached(walk, value, KEPT)
        if operation.name == "div" and len(operation.inputs) == 2
    )


def _has_offset(walk: Walk, value: int) -> bool:
    """Return True for a sum with a number that is not small, as of 1 + |x|."""
    operation = walk.program.makers.get(value)
    while operation is not None and operation.name in KEPT | {"add"}:
        numbers = (n for n in operation.arguments[1:2] if isinstance(n, int | float))
        if operation.name == "add" and any(abs(n) > _SMALL for n in numbers):
            return True
        operation = walk.program.makers.get(operation.inputs[0])
    return False


def _reached(walk: Walk, value: int, passed: frozenset[str]) -> Iterator[Operation]:
    """Yield the users of a value, and those of what these operations make of it."""
    todo, seen = [value], set[int]()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        for operation in walk.signals.users[at]:
            yield operation
            if operation.name in passed:
                todo += [i for i in operation.results if i is not None]


def _is_shares(walk: Walk, value: int) -> bool:
    """Return True for what a softmax makes, through moves."""
    operation = walk.program.makers.get(value)
    while operation is not None and operation.name in KEPT:
        operation = walk.program.makers.get(operation.inputs[0])
    return operation is not None and operation.name in SOFTMAXES
