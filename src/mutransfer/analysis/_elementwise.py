"""Sums, products, powers and functions of entries, and values put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..reading import Operation, Ref
from ._constants import EXTREMES, beside_numbers, beside_tensor
from ._facts import (
    Cause,
    Fact,
    Factor,
    Kind,
    Leaf,
    causes_of,
    dependence,
    is_one,
    merged,
)
from ._growth import Sizes
from ._lengths import with_lengths
from ._operations import ONE_SIGN, SOFTMAXES
from ._terms import only_term
from ._walk import Walk, even, scaled

_EXACT = 1e-6
_EVEN = "an even power"

_POWERS = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}


def total(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a sum or difference, of values or numbers."""
    values = list(operation.inputs)
    if len(values) == 1:
        beside_numbers(walk, index, operation, (0, 1))
        return replace(walk.moved(operation, values[0], result), product=())
    beside_tensor(walk, index, values)
    facts = {v: walk.moved(operation, v, result) for v in values}
    signals = [v for v in values if facts[v].is_signal]
    learned = [v for v in values if facts[v].is_learned]
    if not signals:
        term = only_term(walk.program, operation)
        if term is not None:
            return walk.moved(operation, term, result)
        return _added_weights(walk, result, [facts[v] for v in learned])
    for value in learned:
        walk.vector_use(index, value, result)
        walk.check(value, "a sum with a signal")
    alpha = walk.growth.number(index, "alpha")
    ratios = [facts[v].ratio for v in signals]
    if not is_one(alpha) and len(signals) == 2:
        ratios[1] *= alpha
        numbers = walk.growth.numbers(index, "alpha")
        cause = Cause("number", index, numbers=numbers)
        walk.learn(signals[1], scaled(walk.fact(signals[1]), alpha, cause))
    if len(ratios) == 2 and not is_one(ratios[0] / ratios[1]):
        are_meant = [walk.check(value, "a sum with another signal") for value in signals]
        if any(are_meant):
            walk.short.append(index)
        return Fact(Kind.SIGNAL, walk.full(result))
    return Fact(
        Kind.SIGNAL,
        walk.full(result),
        ratios[0],
        causes=causes_of(facts[v] for v in signals),
        parts=facts[signals[0]].parts,
    )


def _added_weights(walk: Walk, result: int, facts: list[Fact]) -> Fact:
    """Return the fact of a sum of weights, or of constants."""
    if not facts:
        return walk.constant(result)
    leaves = _summed(fact.leaves for fact in facts)
    multiplied = frozenset[frozenset[str]]().union(*(fact.multiplied for fact in facts))
    return Fact(
        Kind.PARAMETERS,
        walk.full(result),
        facts[0].ratio,
        leaves,
        facts[0].causes,
        multiplied=multiplied,
    )


def _summed(terms: Iterable[Mapping[str, Leaf]]) -> dict[str, Leaf]:
    """Return the leaves of a sum, of which the first term tells the size."""
    first, *later = terms
    added = ({n: replace(leaf, is_added=True) for n, leaf in term.items()} for term in later)
    return merged((first, *added))


def product(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a product or quotient, of values or numbers."""
    divides = operation.name != "mul"
    if len(operation.inputs) == 1:
        return _times_number(walk, index, operation, result, divides=divides)
    values = list(operation.inputs)
    one, other = (walk.moved(operation, v, result) for v in values)
    kind = dependence((one, other))
    if kind == Kind.CONSTANT:
        return walk.constant(result)
    sign = -1.0 if divides else 1.0
    varies = tuple(a or b for a, b in zip(one.varies, other.varies, strict=True))
    if kind == Kind.PARAMETERS:
        made = _multiplied_weights(one, other, sign, varies)
        is_square = values[0] == values[1] and not divides
        return replace(made, leaves=positive(made.leaves, _EVEN)) if is_square else made
    one, other = (with_lengths(walk, fact) for fact in (one, other))
    ratio, causes = one.ratio * other.ratio**sign, causes_of((one, other))
    for value, fact in zip(values, (one, other), strict=True):
        if fact.kind == Kind.CONSTANT and not fact.is_even:
            causes |= {Cause("constant", index)}
        if fact.is_learned:
            walk.vector_use(index, value, result)
    factors = _factors(one) + (() if divides else _factors(other))
    factors = tuple(f for f in factors if f.kind != Kind.CONSTANT)[-6:]
    return Fact(
        kind,
        varies,
        ratio,
        causes=causes,
        product=factors if len(factors) > 1 else (),
        parts={**other.parts, **one.parts},
    )


def _multiplied_weights(one: Fact, other: Fact, sign: float, varies: tuple[bool, ...]) -> Fact:
    """Return the fact of a product or quotient of two weights, entry by entry."""
    leaves = dict(one.leaves)
    for name, leaf in other.leaves.items():
        known = leaves.get(name)
        made = replace(leaf, degree=sign * leaf.degree)
        if known is not None:
            made = replace(
                made,
                dims=tuple(a | b for a, b in zip(leaf.dims, known.dims, strict=True)),
                degree=made.degree + known.degree,
                stepped=leaf.stepped or known.stepped,
                is_reduced=leaf.is_reduced and known.is_reduced,
                is_added=leaf.is_added and known.is_added,
            )
        leaves[name] = made
    if not all(leaf.positive for fact in (one, other) for leaf in fact.leaves.values()):
        leaves = {name: replace(leaf, positive="") for name, leaf in leaves.items()}
    # A weight over its own length has no gain: the terms of both are the same.
    own = all(n in one.leaves and abs(leaves[n].degree) < _EXACT for n in other.leaves)
    pairs = {frozenset({a, b}) for a in one.leaves for b in other.leaves if a != b and not own}
    return Fact(
        Kind.PARAMETERS,
        varies,
        one.ratio * other.ratio**sign,
        leaves,
        causes_of((one, other)),
        multiplied=one.multiplied | other.multiplied | pairs,
    )


def _factors(fact: Fact) -> tuple[Factor, ...]:
    return fact.product or (Factor(fact.kind, fact.varies, fact.leaves),)


def _times_number(
    walk: Walk, index: int, operation: Operation, result: int, *, divides: bool
) -> Fact:
    fact = walk.moved(operation, operation.inputs[0], result)
    inverted = divides and not isinstance(operation.arguments[0], Ref)
    position = 0 if not isinstance(operation.arguments[0], Ref) else 1
    factor, numbers = walk.growth.number(index, position), walk.growth.numbers(index, position)
    if inverted:
        leaves = {n: replace(leaf, degree=-leaf.degree) for n, leaf in fact.leaves.items()}
        fact = replace(fact, ratio=1 / fact.ratio, leaves=leaves, product=())
    elif divides:
        factor = 1 / factor
        numbers = numbers and (1 / numbers[0], 1 / numbers[1]) if numbers and all(numbers) else None
    return scaled(fact, factor, Cause("number", index, numbers=numbers))


def power(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a power of a value."""
    fact = walk.moved(operation, operation.inputs[0], result)
    exponent = _POWERS.get(operation.name)
    if exponent is None:
        last = operation.arguments[1] if len(operation.arguments) > 1 else 1
        exponent = float(last) if isinstance(last, int | float) else 1.0
    if fact.kind == Kind.CONSTANT:
        return walk.constant(result)
    leaves = {n: replace(leaf, degree=leaf.degree * exponent) for n, leaf in fact.leaves.items()}
    if exponent % 2 == 0:
        leaves = positive(leaves, _EVEN)
    signals = tuple(f for f in _factors(fact) if f.kind == Kind.SIGNAL)
    squared = signals[-3:] * 2 if exponent == 2 else ()
    causes = fact.causes
    if exponent in {0.5, -0.5} and {c.kind for c in causes} & {"product", "sum"}:
        # The root of a sum of squares is a length.
        causes = frozenset({Cause("unit length", index)})
    return replace(fact, ratio=fact.ratio**exponent, leaves=leaves, product=squared, causes=causes)


def function(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a nonlinear function, whose input has to have one size."""
    values = list(operation.inputs)
    kind = dependence(map(walk.fact, values))
    if kind == Kind.CONSTANT:
        return walk.constant(result)
    for value in values:
        walk.check(value, operation.name)
        if kind == Kind.SIGNAL and walk.fact(value).is_learned:
            walk.vector_use(index, value, result)
    fact = Fact(kind, walk.full(result))
    if operation.name in SOFTMAXES:
        fact = _softmax(walk, index, operation, result, fact)
    if kind == Kind.PARAMETERS:
        leaves = _reshaped(walk, result, walk.fact(values[0]).leaves)
        # Near zero, where entries are as the width grows, most functions are linear.
        leaves = {n: replace(leaf, degree=1.0) for n, leaf in leaves.items()}
        if operation.name in ONE_SIGN:
            leaves = positive(leaves, operation.name.strip("_"))
        return replace(fact, leaves=leaves)
    return fact


def positive(leaves: Mapping[str, Leaf], name: str) -> dict[str, Leaf]:
    """Return the leaves of a function whose results have one sign."""
    return {n: replace(leaf, positive=name) for n, leaf in leaves.items()}


def _softmax(walk: Walk, index: int, operation: Operation, result: int, fact: Fact) -> Fact:
    """Return the fact of weights that sum to one, over a dimension that may grow."""
    last = operation.arguments[1] if len(operation.arguments) > 1 else -1
    dim = int(last) % len(walk.shape(result)) if isinstance(last, int) else -1
    fan = _shared(walk, result, dim, fact) if walk.shape(result) else None
    return scaled(fact, fan[0] / fan[1], Cause("softmax", index, fan)) if fan else fact


def _shared(walk: Walk, result: int, dim: int, fact: Fact) -> Sizes | None:
    """Return the sizes that a softmax shares over; any that differ, of a weight."""
    here, there = walk.shape(result)[dim], walk.growth.shape(result)[dim]
    differs = here != there and 0 not in (here, there)
    counts = fact.kind == Kind.PARAMETERS and differs
    return (here, there) if counts else walk.growth.sizes(result, (dim,))


def _reshaped(walk: Walk, result: int, leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """Return the leaves of a function of a weight; they run everywhere if reshaped."""
    found = {}
    for name, leaf in leaves.items():
        every = frozenset[int]().union(*leaf.dims)
        alike = len(leaf.dims) == len(walk.shape(result))
        dims = leaf.dims if alike else (every,) * len(walk.shape(result))
        found[name] = replace(leaf, dims=dims, positive="")
    return found


def joined(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of values side by side (cat) or in a new dimension (stack)."""
    values = list(operation.inputs)
    facts = [walk.fact(v) for v in values]
    kind, stacks = dependence(facts), operation.name == "stack"
    if kind == Kind.CONSTANT:
        return walk.constant(result)
    last = operation.arguments[1] if len(operation.arguments) > 1 else 0
    dim = (last if isinstance(last, int) else 0) % len(walk.shape(result))
    if kind == Kind.PARAMETERS:
        return _joined_weights(walk, result, facts, dim, stacks=stacks)
    for value, fact in zip(values, facts, strict=True):
        if fact.is_learned:
            walk.vector_use(index, value, result)
    if len({round(f.ratio, 6) for f in facts if f.is_signal}) > 1:
        for value in values:
            walk.check(value, "a concatenation")
    signals = [walk.fact(v) for v in values if walk.fact(v).is_signal]
    parts = {} if stacks else _parts(walk, values, result, dim)
    return Fact(
        Kind.SIGNAL, walk.full(result), signals[0].ratio, causes=causes_of(signals), parts=parts
    )


def _joined_weights(walk: Walk, result: int, facts: list[Fact], dim: int, *, stacks: bool) -> Fact:
    leaves: dict[str, Leaf] = {}
    for fact in facts:
        for name, leaf in fact.leaves.items():
            dims = leaf.dims
            if stacks:
                dims = (*dims[:dim], frozenset[int](), *dims[dim:])
            leaves = merged((leaves, {name: replace(leaf, dims=dims)}))
    return Fact(Kind.PARAMETERS, walk.full(result), facts[0].ratio, leaves)


def _parts(
    walk: Walk, values: list[int], result: int, dim: int
) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return the pieces of a dimension, growing ones beside fixed ones."""
    n = len(walk.shape(result))
    pieces = [v for v in values if len(walk.shape(v)) == n]
    sizes = tuple((walk.shape(v)[dim], walk.growth.shape(v)[dim]) for v in pieces)
    grown = [v for v in pieces if walk.growth.grows(v, dim)]
    ratios = {round(b / a, 9) for a, b in sizes if a}
    if not grown or len(ratios) < 2:
        return {}
    walk.growth.concatenated.add((walk.shape(result)[dim], walk.growth.shape(result)[dim]))
    return {dim: sizes}


def placed(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of values written into another, or mixed."""
    values = list(operation.inputs)
    facts = [walk.fact(v) for v in values]
    kind = dependence(facts)
    if kind == Kind.CONSTANT:
        return walk.constant(result)
    if operation.name == "copy":
        source = walk.moved(operation, values[-1], result)
        return replace(source, varies=walk.full(result))
    if kind == Kind.PARAMETERS:
        # A mask that was made of a weight chooses; what it chooses has the scale.
        facts = [walk.fact(v) for v in sorted(values, key=lambda v: not _is_float(walk, v))]
        leaves = merged(_reshaped(walk, result, f.leaves) for f in facts)
        most = max(facts, key=lambda f: len(f.leaves))
        return Fact(kind, walk.full(result), most.ratio, leaves, most.causes)
    for value, fact in zip(values, facts, strict=True):
        if fact.is_learned:
            walk.vector_use(index, value, result)
    signals = [f for f in facts if f.is_signal]
    if operation.name in EXTREMES:
        beside_tensor(walk, index, values)
    floats = [v for v in values if walk.fact(v).is_signal and _is_float(walk, v)]
    if operation.name in {"addcmul", "addcdiv"}:
        return _added_product(walk, operation, result)
    if len({round(walk.fact(v).ratio, 6) for v in floats}) > 1:
        for value in floats:
            walk.check(value, "a sum with another signal")
        return Fact(kind, walk.full(result))
    chosen = walk.fact(floats[0]) if floats else even(signals[0])
    return Fact(kind, walk.full(result), chosen.ratio, causes=chosen.causes)


def _is_float(walk: Walk, value: int) -> bool:
    return walk.program.values[value].is_float


def _added_product(walk: Walk, operation: Operation, result: int) -> Fact:
    """Return the fact of x + a * b, or x + a / b."""
    x, a, b = (walk.moved(operation, v, result) for v in operation.inputs[:3])
    sign = 1.0 if operation.name == "addcmul" else -1.0
    added = a.ratio * b.ratio**sign
    if x.is_signal and not is_one(x.ratio / added):
        for value in operation.inputs[:3]:
            walk.check(value, "a sum with another signal")
        return Fact(Kind.SIGNAL, walk.full(result))
    return Fact(Kind.SIGNAL, walk.full(result), added, causes=causes_of((x, a, b)))
