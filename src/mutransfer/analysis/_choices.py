"""Choices of rows: scores that are compared, and nothing else."""

from __future__ import annotations

from ..reading import Operation
from ._operations import words
from ._signals import Signals

_COMPARED = words("argmin argmax topk sort argsort min max")
"""Operations that return places, which only the order of their input decides."""


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
    return any(_takes(signals, operation, places, row) for operation in signals.program.operations)


def _places(signals: Signals, scores: int) -> int:
    """Return the places that scores alone decide, as bits; none if they do more."""
    if not any(operation.name in _COMPARED for operation in signals.program.operations):
        return 0
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


def _takes(signals: Signals, operation: Operation, places: int, row: int) -> bool:
    """Return True for an operation that takes rows of a table by their places."""
    tables = (i for i in operation.inputs if signals.is_weight(i))
    return any(signals.ancestors[i] >> row & 1 for i in tables) and any(
        signals.ancestors[i] & places for i in operation.inputs
    )
