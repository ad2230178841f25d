"""Learned weights of layers in a sum over them, one number for each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..reading import Operation, pattern
from ._facts import Cause, Fact, Kind, causes_of
from ._growth import Sizes
from ._layered import softmax_of
from ._operations import FACTORS
from ._sides import factors_of
from ._walk import Use, Walk


def mixture(walk: Walk, index: int, operation: Operation, result: int, *, growth: float) -> Fact:
    """Return the fact of a product of layers with a learned number for each.

    Args:
        walk: The pass over the base.
        index: The operation.
        operation: The product, which sums over the layers.
        result: What it makes.
        growth: Ratio of the number of layers.
    """
    facts = {value: walk.fact(value) for value in factors_of(operation)}
    for value, fact in facts.items():
        if fact.is_learned:
            walk.vector_use(index, value, result)
            _note(walk, index, result, value)
    ratio = math.prod(fact.ratio for fact in facts.values()) * growth
    causes = causes_of(facts.values()) | {Cause("terms", index)}
    return Fact(Kind.SIGNAL, walk.full(result), ratio, causes=causes)


def note_weights(walk: Walk, index: int, result: int, made: int) -> None:
    """Note the learned numbers, one for each layer, that multiply the terms of a sum.

    Args:
        walk: The pass over the base.
        index: The sum.
        result: What it makes.
        made: The value that starts its first term.
    """
    signals = [made]
    while len(signals) == 1 and (operation := walk.program.makers.get(signals[0])) is not None:
        signals = [i for i in operation.inputs if walk.fact(i).is_signal]
        for value in operation.inputs if operation.name in FACTORS else ():
            if walk.fact(value).is_learned:
                _note(walk, index, result, value)


def _note(walk: Walk, index: int, result: int, value: int) -> None:
    """Note a vector with an entry for each layer.

    Of L layers, the gradient of each entry falls as 1/L, as that of an entry of a vector in
    features does with their number: so L is its fan-out.
    """
    softmax = softmax_of(walk.signals, value)
    if softmax is not None:
        walk.mixing.add(walk.program.makers[softmax].inputs[0])
    for name, dims, sizes in _layer_dims(walk, value if softmax is None else softmax):
        if sizes[0] != sizes[1]:
            walk.picked.setdefault(name, set()).update(dims)
            use = Use("vector", index, result, kept=(sizes,), growing=dims, stays=dims)
            walk.use(name, use)


def _layer_dims(walk: Walk, value: int) -> Iterator[tuple[str, frozenset[int], Sizes]]:
    """Yield parameters, their dimensions that count layers, and how many these are."""
    whole = math.prod(walk.shape(value)), math.prod(walk.growth.shape(value))
    for name, leaf in walk.fact(value).leaves.items():
        source = walk.program.parameters[name]
        picked = frozenset(walk.picked.get(name, ()))
        if whole != (1, 1):
            yield name, frozenset[int]().union(*leaf.dims), whole
        elif picked:
            here, there = walk.shape(source), walk.growth.shape(source)
            sizes = math.prod(here[d] for d in picked), math.prod(there[d] for d in picked)
            yield name, picked, sizes
        else:
            yield name, frozenset(), _alike(walk, name)


def _alike(walk: Walk, name: str) -> Sizes:
    """Return how many parameters of both programs have a name, but for its numbers."""
    here, there = (
        sum(pattern(other) == pattern(name) for other in program.parameters)
        for program in (walk.growth.base, walk.growth.other)
    )
    return here, there
