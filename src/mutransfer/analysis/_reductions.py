"""Reductions: sums, means, norms and statistics along dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..reading import Operation, Ref
from ._contractions import summed_product
from ._facts import Cause, Fact, Kind
from ._operations import COPIES, VIEWS
from ._walk import Walk, scaled

_LENGTHS = frozenset({"linalg_vector_norm", "norm"})
_SQUARES = frozenset({"var", "var_mean"})


def reduction(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a reduction over some or all dimensions."""
    value = operation.inputs[0]
    dims = _dims(operation, len(walk.shape(value)))
    fact = walk.fact(value)
    if fact.kind == Kind.CONSTANT:
        return walk.constant(result)
    if fact.is_learned and len(operation.results) > 1 and result != operation.results[0]:
        return replace(fact, varies=walk.full(result), leaves={}, product=())
    reduced = _reduced(walk, index, operation, result, dims)
    growth = _growth(walk, value, dims)
    if operation.name in _LENGTHS:
        order = operation.arguments[1] if len(operation.arguments) > 1 else 2
        power = 1.0 if order == 1 else 0.0 if order == float("inf") else 0.5
        return scaled(reduced, growth**power, Cause("unit length", index))
    if operation.name in _SQUARES and result == operation.results[0]:
        leaves = {n: replace(leaf, degree=2 * leaf.degree) for n, leaf in reduced.leaves.items()}
        return replace(reduced, ratio=reduced.ratio**2, leaves=leaves)
    return reduced


def _growth(walk: Walk, value: int, dims: Sequence[int]) -> float:
    fan = walk.growth.sizes(value, dims)
    return fan[1] / fan[0] if fan else 1.0


def _reduced(
    walk: Walk, index: int, operation: Operation, result: int, dims: Sequence[int]
) -> Fact:
    value, name = operation.inputs[0], operation.name
    fact, mean = walk.fact(value), name != "sum"
    fan = walk.growth.sizes(value, dims)
    if fan and name in {"sum", "mean"} and fact.product and _only_summed(walk, value):
        product = summed_product(walk, index, value, result, dims, fan, mean=mean)
        if product is not None:
            return product
    keeps = len(walk.shape(result)) == len(walk.shape(value))
    chosen = [d for d in range(len(walk.shape(value))) if keeps or d not in dims]
    leaves = {
        n: replace(
            leaf,
            dims=tuple(frozenset[int]() if d in dims else leaf.dims[d] for d in chosen),
            is_reduced=leaf.is_reduced or any(leaf.dims[d] for d in dims),
        )
        for n, leaf in fact.leaves.items()
        if len(leaf.dims) == len(walk.shape(value))
    }
    varies = tuple(d not in dims and fact.varies[d] for d in chosen)
    reduced = Fact(fact.kind, varies, fact.ratio, leaves, fact.causes, multiplied=fact.multiplied)
    if not fan or mean:
        return reduced
    signals = [f for f in fact.product if f.kind == Kind.SIGNAL and any(f.varies[d] for d in dims)]
    cause = Cause("product" if len(signals) > 1 else "sum", index, fan)
    if fact.is_learned:
        return replace(reduced, ratio=fact.ratio * fan[1] / fan[0])
    return scaled(reduced, fan[1] / fan[0], cause)


def _only_summed(walk: Walk, value: int) -> bool:
    """Return True where every use of a product is a sum, so that it is a contraction.

    Else a norm's gain before a hand-written norm would be a readout.
    """
    users = walk.signals.users[value]
    return all(u.name in {"sum", "mean"} or u.name in COPIES | VIEWS for u in users)


def _dims(operation: Operation, n: int) -> list[int]:
    """Return the dimensions that are reduced; all by default."""
    arguments = operation.arguments
    place = 2 if operation.name in _LENGTHS else 1
    found: Any = arguments[place] if len(arguments) > place else operation.keywords.get("dim")
    if isinstance(found, Ref | bool | float) or found is None or found == ():
        return list(range(n))
    chosen = found if isinstance(found, tuple) else (found,)
    return [d % n for d in chosen] if n else []


def fourier(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a Fourier transform, which mixes with fixed weights.

    Over the width it is noted: a sum with fixed weights has no rule.
    """
    value = operation.inputs[0]
    fact, dims = walk.fact(value), operation.arguments[1]
    n = len(walk.shape(value))
    if _growth(walk, value, [d % n for d in (dims if isinstance(dims, tuple) else (dims,))]) != 1:
        walk.fixed.append(index)
    alike = len(walk.shape(result)) == n
    leaves = fact.leaves if alike else {}
    return replace(fact, varies=walk.full(result), product=(), parts={}, leaves=leaves)
