"""Signs, roundings, comparisons and choices: what is left of the size of a weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..reading import Operation
from ._facts import Fact, Kind, Leaf, dependence, merged
from ._operations import SORTED
from ._walk import Walk

WHOLE = "int"
"""The name of a conversion to whole numbers, which a parameter holds from the start."""

_ROUNDINGS = frozenset({"round", "floor", "ceil", "trunc"})
_ZEROS = frozenset({"zeros", "zeros_like", "new_zeros"})
_EXACT = 1e-6


def compared(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of an index, a mask or fresh values.

    A choice of as many features at all sizes is noted.
    """
    kind = dependence(map(walk.fact, operation.inputs))
    first = result == operation.results[0]
    if operation.name == "topk" and first:
        grown = walk.growth.growing(operation.inputs[0])
        if len(walk.growth.growing(result)) < len(grown):
            walk.chosen.append(index)
    fact = walk.fact(operation.inputs[0])
    if operation.name in SORTED and first and fact.is_learned:
        # A threshold that is drawn from a weight scales with it.
        return replace(fact, varies=walk.full(result), product=())
    fresh = kind != Kind.SIGNAL
    return walk.constant(result) if fresh else Fact(kind, walk.full(result))


def step(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a function of steps.

    A weight loses its scale in a sign, and where it is compared with zero or with what scales as it
    does. Other steps have a size of their own.
    """
    if dependence(map(walk.fact, operation.inputs)) != Kind.PARAMETERS:
        return compared(walk, index, operation, result)
    facts = [walk.moved(operation, value, result) for value in operation.inputs]
    leaves, name = merged(fact.leaves for fact in facts), operation.name
    multiplied = frozenset[frozenset[str]]().union(*(fact.multiplied for fact in facts))
    made = Fact(Kind.PARAMETERS, walk.full(result), multiplied=multiplied)
    if name == "sign":
        free = {n: replace(leaf, degree=0.0) for n, leaf in leaves.items()}
        return replace(made, leaves=free)
    if name in _ROUNDINGS:
        even = all(abs(leaf.degree) < _EXACT for leaf in leaves.values())
        chosen = leaves if even else in_steps(leaves, name)
        return replace(made, ratio=facts[0].ratio, causes=facts[0].causes, leaves=chosen)
    fixed = not _scale_alike(walk, operation, facts)
    masks = in_steps(leaves, name) if fixed else leaves
    return replace(
        made, leaves={n: replace(leaf, degree=0.0, positive=name) for n, leaf in masks.items()}
    )


def quantized(walk: Walk, operation: Operation, result: int) -> Fact:
    """Return the fact of a weight that is rounded to a grid.

    It scales as the weight does only where the step of the grid does so, too.
    """
    if result != operation.results[0]:
        return walk.constant(result)
    moved = walk.moved(operation, operation.inputs[0], result)
    if _alike(_degrees(walk.fact(value)) for value in operation.inputs[:2]):
        return moved
    return replace(moved, leaves=in_steps(moved.leaves, "fake_quantize"))


def in_steps(leaves: Mapping[str, Leaf], name: str) -> dict[str, Leaf]:
    """Return the leaves of a function whose steps have a size of their own."""
    return {n: replace(leaf, stepped=leaf.stepped or name) for n, leaf in leaves.items()}


def _scale_alike(walk: Walk, operation: Operation, facts: list[Fact]) -> bool:
    """Return True where the sides of a comparison scale alike, or one is zero."""
    if any(_is_zero(walk, operation, position) for position in (0, 1)):
        return True
    return _alike(map(_degrees, facts))


def _degrees(fact: Fact) -> dict[str, float]:
    return {name: leaf.degree for name, leaf in fact.leaves.items()}


def _alike(degrees: Iterable[Mapping[str, float]]) -> bool:
    """Return True where two values, or one and a number, scale alike."""
    one, *others = degrees
    other = others[0] if others else {}
    return all(abs(one.get(n, 0.0) - other.get(n, 0.0)) < _EXACT for n in {*one, *other})


def _is_zero(walk: Walk, operation: Operation, position: int) -> bool:
    argument = operation.arguments[position]
    if isinstance(argument, int | float):
        return argument == 0
    index = argument.index
    value, maker = walk.program.values[index], walk.program.makers.get(index)
    made = maker is not None and maker.name in _ZEROS
    return made or (value.kind == "constant" and value.is_float and value.magnitude is None)
