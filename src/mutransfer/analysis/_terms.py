"""Terms of a sum that cancel, as those of a straight-through estimator."""

from __future__ import annotations

from collections import Counter

from ..reading import Operation, Program

_SAME = frozenset({"detach", "alias", "clone", "contiguous"})
_SUMS = {"add": (1, 1), "sub": (1, -1), "rsub": (-1, 1)}
_DEEPEST = 3
"""Sums inside sums that are looked through; an estimator has two."""


def only_term(program: Program, operation: Operation) -> int | None:
    """Return the one value that is left of a sum whose other terms cancel.

    In w + (round(w) - w).detach() that is round(w): the rest passes the gradient alone.
    """
    if not _is_sum(operation):
        return None
    terms = Counter[int]()
    _gather(program, operation, terms, sign=1, depth=1)
    left = [value for value, number in terms.items() if number]
    return left[0] if len(left) == 1 and terms[left[0]] == 1 and len(terms) > 1 else None


def _gather(
    program: Program, operation: Operation, terms: Counter[int], *, sign: int, depth: int
) -> None:
    """Count the terms of a sum, each as often as it is added."""
    for value, each in zip(operation.inputs, _SUMS[operation.name], strict=True):
        at, maker = value, program.makers.get(value)
        while maker is not None and maker.name in _SAME:
            at = maker.inputs[0]
            maker = program.makers.get(at)
        if maker is not None and _is_sum(maker) and depth < _DEEPEST:
            _gather(program, maker, terms, sign=sign * each, depth=depth + 1)
        else:
            terms[at] += sign * each


def _is_sum(operation: Operation) -> bool:
    two = operation.name in _SUMS and len(operation.inputs) == 2
    return two and operation.keywords.get("alpha", 1) == 1
