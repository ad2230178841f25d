"""Learned weights of layers in a sum over them, one number for each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..reading import Operation
from ._facts import Fact, Kind
from ._layered import softmax_of
from ._operations import FACTORS
from ._sides import factors_of
from ._walk import Use, Walk


def mean_over_layers(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a product of layers with shares that sum to one."""
    signal = next(v for v in factors_of(operation) if walk.fact(v).is_signal)
    for value in factors_of(operation):
        if walk.fact(value).is_learned:
            walk.vector_use(index, value, result)
            _note(walk, index, result, value)
    fact = walk.fact(signal)
    return Fact(Kind.SIGNAL, walk.full(result), fact.ratio, causes=fact.causes)


def note_weights(walk: Walk, index: int, result: int, made: int) -> None:
    """Note the vectors of one number a layer that multiply the terms of a sum.

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
    for name, dims in _layer_dims(walk, value, softmax):
        source = walk.program.parameters[name]
        for d in dims:
            sizes = walk.shape(source)[d], walk.growth.shape(source)[d]
            if sizes[0] != sizes[1]:
                walk.picked.setdefault(name, set()).add(d)
                dim = frozenset({d})
                use = Use("vector", index, result, kept=(sizes,), growing=dim, stays=dim)
                walk.use(name, use)


def _layer_dims(walk: Walk, value: int, softmax: int | None) -> Iterator[tuple[str, set[int]]]:
    """Yield each parameter in a weight, with its dimensions that count layers."""
    if softmax is not None:
        for name, leaf in walk.fact(softmax).leaves.items():
            yield name, set[int]().union(*leaf.dims)
    elif math.prod(walk.shape(value)) == 1:
        for name in walk.fact(value).leaves:
            yield name, set(walk.picked.get(name, ()))
