"""Weights that the data make: signals whose dimensions are those of a parameter."""

from __future__ import annotations

from collections.abc import Sequence

from ..reading import Operation
from ._movement import sources
from ._operations import BOUNDED, COPIES, FACTORS, NONLINEAR, POSITIVE, PRODUCTS, VIEWS
from ._sides import Side, sides_of
from ._walk import Walk

_FOLLOWED = VIEWS | COPIES | POSITIVE | BOUNDED | NONLINEAR

Groups = tuple[frozenset[int], ...]
"""Dimensions of a value; those of a group stand for one dimension of what it became."""


def generators(walk: Walk, side: Side, other: Side) -> frozenset[str]:
    """Return the parameters that a signal has as its entries, as a mixture has.

    The dimensions that it is summed over and that stay, and grow, are the parameter's own, so that
    the sum is one over the parameter.
    """
    pairs = zip(side.kept, other.kept, strict=True)
    own = [d for d, shared in pairs if d is not None and shared is None]
    stays = [d for d in own if walk.growth.grows(side.value, d)]
    if not stays:
        return frozenset()
    summed = [d for d in side.summed if walk.growth.grows(side.value, d)]
    return _runs_along(walk, side.value, tuple(frozenset({d}) for d in (*summed, *stays)))


def _runs_along(walk: Walk, value: int, groups: Groups) -> frozenset[str]:
    """Return the parameters that vary along a dimension of every group."""
    fact = walk.fact(value)
    if fact.is_learned:
        return frozenset(
            name
            for name, leaf in fact.leaves.items()
            if all(any(d < len(leaf.dims) and leaf.dims[d] for d in group) for group in groups)
        )
    operation = walk.program.makers.get(value)
    if operation is None or not fact.is_signal:
        return frozenset()
    if operation.name in PRODUCTS:
        return _of_product(walk, operation, groups)
    if operation.name in _FOLLOWED:
        return _before(walk, operation, operation.inputs[0], value, groups)
    if operation.name in FACTORS:
        found = (_before(walk, operation, each, value, groups) for each in operation.inputs)
        return frozenset[str]().union(*found)
    return frozenset()


def _before(
    walk: Walk, operation: Operation, value: int, result: int, groups: Groups
) -> frozenset[str]:
    """Return the parameters along the dimensions of an input that become these."""
    where = sources(operation, walk.shape(value), walk.shape(result))
    moved = tuple(frozenset[int]().union(*(where[d] for d in group)) for group in groups)
    return _runs_along(walk, value, moved) if all(moved) else frozenset()


def _of_product(walk: Walk, operation: Operation, groups: Groups) -> frozenset[str]:
    """Return the parameters of the side that has all groups, and of a bias."""
    found = frozenset[str]()
    for side in sides_of(operation):
        moved = _own(side.kept, groups)
        if all(moved):
            found |= _runs_along(walk, side.value, moved)
    if found and (bias := operation.inputs[0]) not in {s.value for s in sides_of(operation)}:
        result = next(i for i in operation.results if i is not None)
        found |= _before(walk, operation, bias, result, groups)
    return found


def _own(kept: Sequence[int | None], groups: Groups) -> Groups:
    """Return the dimensions that a side has for those of the result."""
    return tuple(frozenset(k for d in group if (k := kept[d]) is not None) for group in groups)
