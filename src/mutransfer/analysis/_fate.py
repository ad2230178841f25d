"""Fates of values: the operations that they end in."""

from __future__ import annotations

from collections.abc import Callable

from ._operations import (
    CONVOLUTIONS,
    KEPT,
    LOG_SOFTMAXES,
    NORMS,
    PRODUCTS,
    SOFTMAXES,
)
from ._walk import Walk


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


def _is_factor(walk: Walk, value: int, inputs: tuple[int, ...]) -> bool:
    """Return True for a product with another learned signal, not data alone."""
    signals = walk.signals
    others = [i for i in inputs if i != value]
    return any(signals.is_signal[i] and signals.is_learned[i] for i in others)


def _added(name: str, inputs: tuple[int, ...]) -> tuple[int, ...]:
    return inputs[:1] if name in {"addmm", "baddbmm", "addmv", "addbmm"} else ()


def _grown(walk: Walk) -> Callable[[int | None], bool]:
    return lambda i: i is not None and bool(walk.growth.growing(i))


def is_key_value(walk: Walk, value: int) -> bool:
    """Return True for keys or values that several queries share.

    They reach a product of two signals through moves, numbers and norms alone.
    """
    todo, seen = [value], set[int]()
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        for operation in walk.signals.users[at]:
            signals = [i for i in operation.inputs if walk.fact(i).is_signal]
            if operation.name in {"bmm", "baddbmm"} and len(signals) == 2:
                return True
            if operation.name in KEPT | NORMS | {"mul", "add", "sub", "cat", "stack", "div"}:
                todo += [i for i in operation.results if i is not None]
    return False
