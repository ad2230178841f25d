"""Norms, look-ups and weights that are normalised by one operation."""

from __future__ import annotations

from dataclasses import replace

from ..reading import Operation
from ._facts import Cause, Fact, Kind, Leaf, dependence
from ._walk import Walk, scaled


def norm(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a normalisation: its result has the size of its gain."""
    signal, *rest = operation.inputs
    affine = [v for v in rest if walk.fact(v).is_learned]
    fact, gain = walk.fact(signal), walk.fact(affine[0]).ratio if affine else 1.0
    if fact.kind == Kind.CONSTANT and not affine:
        return walk.constant(result)
    if fact.is_learned:
        return _standardised(walk, operation, result, gain)
    for value in affine:
        walk.vector_use(index, value, result)
    return scaled(Fact(Kind.SIGNAL, walk.full(result)), gain, Cause("number", index))


def _standardised(walk: Walk, operation: Operation, result: int, gain: float) -> Fact:
    """Return the fact of a weight that is normalised as a signal is."""
    signal, *rest = operation.inputs
    if result != operation.results[0]:
        return Fact(Kind.PARAMETERS, walk.full(result))
    full = walk.full(result)
    channel = 1 if "batch" in operation.name or "group" in operation.name else len(full) - 1
    leaves = walk.fact(signal).leaves
    leaves = {n: Leaf(leaf.dims, 0.0, stepped=leaf.stepped) for n, leaf in leaves.items()}
    for value in rest[:1]:
        for name, leaf in walk.fact(value).leaves.items():
            every = frozenset[int]().union(*leaf.dims)
            dims = tuple(every if k == channel else frozenset[int]() for k in range(len(full)))
            leaves[name] = Leaf(dims, leaf.degree)
    return Fact(Kind.PARAMETERS, full, gain, leaves)


def weight_norm(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of g * v / |v| (Weight Normalization, 1602.07868)."""
    direction, length = operation.inputs[:2]
    full = walk.full(result)
    leaves = walk.fact(direction).leaves
    leaves = {n: Leaf(leaf.dims, 0.0, stepped=leaf.stepped) for n, leaf in leaves.items()}
    if result != operation.results[0]:
        return Fact(Kind.PARAMETERS, full)
    lengths = walk.fact(length).leaves
    # A length by column of the summed dimension is a gain, as where the product is written out.
    pairs = {frozenset({a, b}) for a in leaves for b in lengths if a != b}
    leaves |= lengths
    summed = [d for d in range(len(full)) if walk.shape(length)[d] == 1]
    fan = walk.growth.sizes(direction, summed)
    made = Fact(Kind.PARAMETERS, full, leaves=leaves, multiplied=frozenset(pairs))
    shrink = (fan[0] / fan[1]) ** 0.5 if fan else 1.0
    return scaled(made, shrink, Cause("normalised weight", index, fan))


def orthonormal(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a matrix with columns of length one, as an orthogonal map.

    The exponential of a weight that is skew has them, and that of any hidden matrix nearly so.
    """
    weight, full = walk.fact(operation.inputs[0]), walk.full(result)
    leaves = {n: replace(leaf, degree=0.0, positive="") for n, leaf in weight.leaves.items()}
    fan = walk.growth.sizes(result, (len(full) - 2,))
    made = Fact(Kind.PARAMETERS, full, leaves=leaves)
    shrink = (fan[0] / fan[1]) ** 0.5 if fan else 1.0
    return scaled(made, shrink, Cause("normalised weight", index, fan))


def lookup(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of rows that are picked from a table or a signal."""
    table, *indices = operation.inputs
    fact = walk.fact(table)
    picked = dependence(map(walk.fact, indices)) if indices else Kind.CONSTANT
    if not fact.is_learned:
        if fact.kind == Kind.CONSTANT and picked == Kind.CONSTANT:
            return walk.constant(result)
        kind = Kind.SIGNAL if fact.is_signal or picked == Kind.SIGNAL else picked
        return replace(fact, kind=kind, varies=walk.full(result), product=(), parts={})
    walk.vector_use(index, table, result, "lookup", _picked_dimension(operation))
    if picked == Kind.SIGNAL and len(walk.shape(table)) < 3:
        return Fact(Kind.SIGNAL, walk.full(result), fact.ratio, causes=fact.causes)
    leaves = {n: _picked(walk, operation, leaf, result) for n, leaf in fact.leaves.items()}
    return Fact(Kind.PARAMETERS, walk.full(result), fact.ratio, leaves, fact.causes)


def _picked(walk: Walk, operation: Operation, leaf: Leaf, result: int) -> Leaf:
    """Return a parameter whose rows were picked by constants."""
    n, before = len(walk.shape(result)), len(leaf.dims)
    if operation.name in {"index_select", "gather", "take_along_dim"}:
        return leaf if n == before else replace(leaf, dims=(frozenset(range(before)),) * n)
    rows = n - (before - 1)
    by_rows = operation.name != "index" or _picks_rows(operation)
    if by_rows and rows >= 0:
        return replace(leaf, dims=(leaf.dims[0],) * rows + leaf.dims[1:])
    every = frozenset[int]().union(*leaf.dims)
    return replace(leaf, dims=(every,) * n)


def _picks_rows(operation: Operation) -> bool:
    indices = operation.arguments[1]
    return (
        isinstance(indices, tuple)
        and sum(i is not None for i in indices) == 1
        and (indices[0] is not None)
    )


def _picked_dimension(operation: Operation) -> int | None:
    """Return the dimension of a table whose rows are picked; None where several are."""
    if operation.name in {"index_select", "gather", "take_along_dim"}:
        dim = operation.arguments[1]
        return dim if isinstance(dim, int) and dim >= 0 else None
    return 0 if operation.name not in {"index", "_unsafe_index"} or _picks_rows(operation) else None
