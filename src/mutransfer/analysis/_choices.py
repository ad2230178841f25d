"""Choices of rows: scores that are compared, and nothing else."""

from __future__ import annotations

from functools import reduce
from operator import or_

from ..reading import Operation
from ._operations import words
from ._signals import Signals

_COMPARED = words("argmin argmax topk sort argsort min max")
"""Operations that return places, which only the order of their input decides."""


def tables(signals: Signals) -> frozenset[str]:
    """Return the parameters whose rows the places of a comparison take.

    Of the others no choice is searched for, as that takes long in a large graph.
    """
    program, places, taken = signals.program, 0, 0
    for operation in program.operations:
        if operation.name in _COMPARED:
            whole = (i for i in _live(signals, operation) if not signals.values[i].is_float)
            places |= sum(1 << i for i in whole)
        if places:
            taken |= _taken(signals, operation, places)
    return frozenset(name for name, row in program.parameters.items() if taken >> row & 1)


def picks(signals: Signals, scores: int, table: str) -> bool:
    """Return True where scores only decide which rows of a table are taken.

    No gradient passes such a choice, as that of the nearest code of a codebook.

    Args:
        signals: The walks back through the forward pass.
        scores: The value of the scores.
        table: The parameter whose rows are taken.
    """
    places = _places(signals, scores)
    if not places or not _reaches_output(signals, places):
        return False
    row = signals.program.parameters[table]
    return any(_taken(signals, each, places) >> row & 1 for each in signals.program.operations)


def _places(signals: Signals, scores: int) -> int:
    """Return the places that scores alone decide, as bits; none if they do more."""
    places, todo, seen = 0, [scores], set[int]()
    while todo:
        at = todo.pop()
        if at in signals.program.outputs:
            return 0
        for operation in signals.users[at]:
            for result in _live(signals, operation):
                if signals.values[result].is_float:
                    todo += [result] if result not in seen else []
                    seen.add(result)
                elif operation.name in _COMPARED:
                    places |= 1 << result
                else:
                    return 0
    return places


def _live(signals: Signals, operation: Operation) -> list[int]:
    """Return the results that something uses."""
    outputs = signals.program.outputs
    return [i for i in operation.results if i is not None and (signals.users[i] or i in outputs)]


def _reaches_output(signals: Signals, places: int) -> bool:
    """Return True where an output that has gradients is made of what was picked."""
    made = (i for i in signals.program.outputs if signals.values[i].is_float)
    return any(signals.ancestors[i] & places for i in made)


def _taken(signals: Signals, operation: Operation, places: int) -> int:
    """Return what the tables are made of that an operation takes rows of, as bits."""
    if not any(signals.ancestors[i] & places for i in operation.inputs):
        return 0
    return reduce(or_, (signals.ancestors[i] for i in operation.inputs if signals.is_weight(i)), 0)
