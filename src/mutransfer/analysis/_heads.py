"""Matrices that make the outputs, look-ups of tables, logits of attentions.

All of it is read off one forward pass, whatever grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..reading import Operation
from ._fate import fate
from ._operations import LOOKUPS, NORMS, PRODUCTS
from ._sides import factors_of
from ._signals import Signals
from ._walk import Walk


@dataclass(frozen=True)
class Contraction:
    """A signal that is summed with a weight.

    Attributes:
        operation: The operation that sums.
        weight: The value of the weight.
        operand: The value of the signal.
    """

    operation: Operation
    weight: int
    operand: int


def contraction(signals: Signals, operation: Operation) -> Contraction | None:
    """Return an operation as a signal summed with a weight; None for others."""
    factors = factors_of(operation)
    weights = [i for i in factors if signals.is_weight(i)]
    others = [i for i in factors if signals.is_signal[i]]
    if len(weights) == len(others) == 1:
        return Contraction(operation, weights[0], others[0])
    return None


def heads_of(signals: Signals) -> list[Contraction]:
    """Return the last sums with a weight before each output.

    Between them and the output may lie sums, moves and functions of entries. A norm or a product
    of two learned signals ends the search.
    """
    found, seen = list[Contraction](), set[int]()
    todo = [*signals.program.outputs]
    while todo:
        at = todo.pop()
        operation = signals.makers.get(at)
        if at in seen or operation is None:
            continue
        seen.add(at)
        head = contraction(signals, operation)
        if head is not None:
            found.append(head)
        elif operation.name not in NORMS and not _multiplies(signals, operation):
            todo += [i for i in operation.inputs if _is_learned_signal(signals, i)]
    return found


def _is_learned_signal(signals: Signals, value: int) -> bool:
    is_float = signals.values[value].is_float
    return is_float and signals.is_signal[value] and signals.is_learned[value]


def _multiplies(signals: Signals, operation: Operation) -> bool:
    """Return True for products of learned signals, or of one with a vector."""
    if operation.name not in PRODUCTS | {"mul", "div"}:
        return False
    learned = [i for i in operation.inputs if _is_learned_signal(signals, i)]
    weights = [i for i in operation.inputs if signals.is_weight(i)]
    return len(learned) > 1 or any(max(signals.values[i].shape, default=1) > 1 for i in weights)


def looked_up(signals: Signals) -> Iterator[tuple[int, str]]:
    """Yield the rows that are looked up in each table, with the table's name."""
    for operation in signals.program.operations:
        if operation.name in LOOKUPS and operation.inputs and operation.results[0] is not None:
            table = operation.inputs[0]
            names = signals.ends(table) if signals.is_weight(table) else frozenset[str]()
            for name in names if len(signals.values[table].shape) == 2 else ():
                yield operation.results[0], name


def attention_logits(walk: Walk) -> list[int]:
    """Return the products of two learned signals that a softmax compares."""
    found = []
    for operation in walk.program.operations:
        factors = [i for i in factors_of(operation) if _is_learned_signal(walk.signals, i)]
        value = operation.results[0] if operation.results else None
        if len(factors) == 2 and value is not None and "softmax" in fate(walk, value):
            found.append(value)
    return found
