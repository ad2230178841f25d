"""Products summed over a dimension, in every spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..reading import Operation
from ._choices import picks
from ._facts import Cause, Fact, Kind, Leaf, causes_of, causes_of_weight, dependence, is_one, merged
from ._generated import generators
from ._growth import Sizes
from ._sides import ADDED, Side, sides_of
from ._walk import Use, Walk, even, scaled


def contract(
    walk: Walk, index: int, result: int, one: Side, other: Side, *, scale: float = 1.0
) -> Fact:
    """Return what is known of a product of two values that is summed."""
    a, b = walk.fact(one.value), walk.fact(other.value)
    if dependence((a, b)) == Kind.CONSTANT:
        return walk.constant(result)
    if b.is_signal and not a.is_signal:
        one, other, a, b = other, one, b, a
    elif a.is_learned and b.is_learned:
        one, other = _by_latents(walk, index, result, one, other)
        a, b = walk.fact(one.value), walk.fact(other.value)
        if _is_latent(walk, one):
            a = Fact(Kind.SIGNAL, a.varies, a.ratio)
    fan = walk.growth.sizes(one.value, one.summed) or walk.growth.sizes(other.value, other.summed)
    if fan and any(
        picks(walk.signals, result, name) for name in walk.tables.intersection(b.leaves)
    ):
        # Rows that are compared and taken have the size of features, as signals do.
        walk.vector_use(index, other.value, result)
        b = replace(b, kind=Kind.SIGNAL)
    if a.is_signal and b.is_learned:
        return _weighted(walk, index, result, (one, other), (a, b), fan)
    ratio, causes = a.ratio * b.ratio * scale, causes_of((a, b))
    if abs(scale - 1) > 1e-9:
        causes |= {Cause("number", index)}
    if a.is_signal and b.is_signal:
        if fan and (made := _note_generated(walk, index, result, one, other)):
            fact = Fact(Kind.SIGNAL, walk.full(result), ratio, causes=causes)
            return _of_unit_rows(walk, index, fact, made, fan)
        if fan:
            ratio *= fan[1] / fan[0]
            causes |= {Cause("product", index, fan)}
        return Fact(Kind.SIGNAL, walk.full(result), ratio, causes=causes)
    if a.is_signal:
        if fan:
            # No rule tells the size of fixed weights: it is left, and said.
            walk.fixed.append(index)
            ratio = a.ratio * scale
        return Fact(Kind.SIGNAL, walk.full(result), ratio, causes=causes)
    return _of_parameters(walk, index, result, (one, other), (a, b), fan)


def _note_generated(walk: Walk, index: int, result: int, one: Side, other: Side) -> list[Side]:
    """Note the parameters that signals have as entries; return these signals."""
    found = []
    for side, names in ((one, generators(walk, one, other)), (other, generators(walk, other, one))):
        fan = walk.growth.sizes(side.value, side.summed)
        for name in names if fan else ():
            walk.use(name, Use("contraction", index, result, fan=fan, is_generated=True))
            found.append(side)
    return found


def _of_unit_rows(walk: Walk, index: int, fact: Fact, made: Sequence[Side], fan: Sizes) -> Fact:
    """Return the fact of a product with a matrix that the data make, over its length."""
    causes = causes_of(walk.fact(side.value) for side in made)
    if any(cause.kind == "unit length" for cause in causes):
        return scaled(fact, (fan[1] / fan[0]) ** 0.5, Cause("normalised", index, fan))
    return fact


def _by_latents(walk: Walk, index: int, result: int, one: Side, other: Side) -> tuple[Side, Side]:
    """Return the two factors, a finite set of learned vectors first."""
    if _is_latent(walk, other) and not _is_latent(walk, one):
        one, other = other, one
    if _is_latent(walk, one):
        walk.vector_use(index, one.value, result)
    return one, other


def _is_latent(walk: Walk, side: Side) -> bool:
    """Return True for a finite set of learned vectors, which are a signal to a matrix."""
    fact = walk.fact(side.value)
    rest = [d for d in range(len(fact.varies)) if d not in side.summed]
    grown = walk.growth.sizes(side.value, side.summed)
    return (
        fact.is_learned
        and grown is not None
        and not any(walk.growth.grows(side.value, d) for d in rest)
    )


def _weighted(
    walk: Walk,
    index: int,
    result: int,
    sides: tuple[Side, Side],
    facts: tuple[Fact, Fact],
    fan: Sizes | None,
) -> Fact:
    """Return the fact of a signal times a weight; notes the uses of its parameters."""
    (one, other), (a, b) = sides, facts
    keeps = any(walk.kept(other.value, leaf, _rest(other, leaf)) for leaf in b.leaves.values())
    if fan and not a.is_even and keeps and walk.can_scale(one.value):
        walk.check(one.value, "the input of a matrix")
        a = even(a)
    parts = next((a.parts[d] for d in one.summed if d in a.parts), ())
    use = Use("contraction", index, result, operand=one.value, parts=parts)
    normalised = _note(walk, other, b, use, fan)
    ratio, causes = a.ratio * b.ratio, a.causes | causes_of_weight(b)
    causes |= _of_shares(a, index, fan)
    fact = Fact(Kind.SIGNAL, walk.full(result), ratio, causes=causes)
    if fan and normalised:
        growth = (fan[1] / fan[0]) ** (0.5 if keeps else 1.0)
        return scaled(fact, growth, Cause("normalised", index, fan))
    return fact


def _of_shares(signal: Fact, index: int, fan: Sizes | None) -> frozenset[Cause]:
    """Return the cause of a sum of a weight with shares of a softmax, if any."""
    shares = any(cause.kind == "softmax" for cause in signal.causes)
    return frozenset({Cause("shares", index, fan)}) if fan and shares else frozenset()


def _rest(side: Side, leaf: Leaf) -> list[int]:
    return [d for d in range(len(leaf.dims)) if d not in side.summed]


def _note(walk: Walk, side: Side, fact: Fact, use: Use, fan: Sizes | None) -> bool:
    """Note the use of every parameter of a weight; return True if it is normalised."""
    value = side.value
    hit = {
        name: any(leaf.dims[d] and walk.growth.grows(value, d) for d in side.summed)
        for name, leaf in fact.leaves.items()
    }
    matrices = {
        name
        for name, leaf in fact.leaves.items()
        if hit[name] and any(leaf.dims[d] for d in _rest(side, leaf))
    }
    kept = {n: walk.kept(value, leaf, _rest(side, leaf)) for n, leaf in fact.leaves.items()}
    normalised = False
    for name, leaf in fact.leaves.items():
        summed = frozenset[int]().union(*(leaf.dims[d] for d in side.summed))
        stays = frozenset[int]().union(*(leaf.dims[d] for d in _rest(side, leaf)))
        joint = frozenset(o for o in matrices if frozenset({o, name}) in fact.multiplied)
        is_gain = hit[name] and name not in matrices and _multiplied(fact, name, hit)
        contracted = bool(summed) and not is_gain
        is_normalised = abs(leaf.degree) < 1e-6
        normalised |= bool(fan) and hit[name] and is_normalised
        walk.use(
            name,
            replace(
                use,
                kind="contraction" if contracted else "vector",
                fan=fan if fan and hit[name] and contracted else None,
                kept=kept[name] if contracted else walk.kept(value, leaf),
                growing=walk.growing(value, leaf),
                summed=summed if contracted else frozenset(),
                stays=stays if contracted else summed | stays,
                is_normalised=is_normalised,
                positive=leaf.positive,
                stepped=leaf.stepped,
                is_square=bool(leaf.positive) and abs(leaf.degree - 2) < 1e-6,
                others_grow=any(kept[other] for other in kept if other != name),
                joint=joint if name in matrices and not is_normalised else frozenset(),
                parts=use.parts if hit[name] else (),
            ),
        )
    return normalised


def _multiplied(fact: Fact, name: str, hit: Mapping[str, bool]) -> bool:
    """Return True for a parameter that multiplies another one along the sum."""
    others = (pair - {name} for pair in fact.multiplied if name in pair)
    return any(hit.get(other, False) for pair in others for other in pair)


def _of_parameters(
    walk: Walk,
    index: int,
    result: int,
    sides: tuple[Side, Side],
    facts: tuple[Fact, Fact],
    fan: Sizes | None,
) -> Fact:
    """Return the weight that two weights, or a weight and constants, make."""
    leaves: dict[str, Leaf] = {}
    learned = [(s, f) for s, f in zip(sides, facts, strict=True) if f.is_learned]
    for side, fact in learned:
        if fan:
            use = Use("contraction", index, result, with_constant=len(learned) == 1)
            _note(walk, side, fact, use, fan)
        mixes = bool(fan) and len(learned) == 1
        kept = {n: _kept(walk, result, side, leaf, mixes=mixes) for n, leaf in fact.leaves.items()}
        leaves = merged((leaves, kept))
    ratio = facts[0].ratio * facts[1].ratio
    multiplied = facts[0].multiplied | facts[1].multiplied
    causes = causes_of(facts)
    made = Fact(Kind.PARAMETERS, walk.full(result), ratio, leaves, causes, multiplied=multiplied)
    if fan and len(learned) == 1 and not walk.growth.growing(result):
        # A unit vector takes the length of a weight, as in a spectral norm.
        lengths = {name: replace(leaf, is_reduced=True) for name, leaf in leaves.items()}
        made = replace(made, leaves=lengths)
        return scaled(made, (fan[1] / fan[0]) ** 0.5, Cause("unit length", index, fan))
    return made


def _kept(walk: Walk, result: int, side: Side, leaf: Leaf, *, mixes: bool) -> Leaf:
    """Return a parameter in a product with constants or with another parameter.

    Constants that mix its entries along a growing dimension put these along their own.
    """
    mixed = frozenset[int]().union(*(leaf.dims[d] for d in side.summed)) if mixes else frozenset()
    dims = (
        leaf.dims[d] if d is not None else mixed if walk.growth.grows(result, k) else frozenset()
        for k, d in enumerate(side.kept)
    )
    return replace(leaf, dims=tuple(dims))


def matrix_product(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a product of matrices or vectors, with what is added to it."""
    added = operation.name in ADDED
    one, other = sides_of(operation)
    scale = walk.growth.number(index, "alpha") if added else 1.0
    fact = contract(walk, index, result, one, other, scale=scale)
    if added:
        bias = walk.fact(operation.inputs[0])
        if bias.is_learned and fact.is_signal:
            walk.vector_use(index, operation.inputs[0], result)
            fact = _biased(walk, result, fact)
        elif bias.is_signal and not bias.is_even and operation.keywords.get("beta") != 0:
            _check_added(walk, operation.inputs[0], fact)
    return fact


def _check_added(walk: Walk, value: int, product: Fact) -> None:
    """Note a signal that a product is added to, unless both grow alike."""
    if not is_one(walk.fact(value).ratio / product.ratio):
        walk.check(value, "a sum with another signal")


def _biased(walk: Walk, result: int, fact: Fact) -> Fact:
    """Return the fact of a product with a bias, which needs the base's size before."""
    walk.learn(result, fact)
    walk.check(result, "a sum with a bias")
    return walk.fact(result)


def convolution(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a convolution; its kernel is summed, too."""
    signal, kernel, *bias = operation.inputs
    transposed = bool(operation.arguments[6]) if len(operation.arguments) > 6 else False
    groups_grow = walk.growth.number(index, 8) != 1.0
    for each in bias:
        if walk.fact(each).is_learned:
            walk.vector_use(index, each, result)
    dims = len(walk.shape(kernel))
    summed, stays = (0, 1) if transposed else (1, 0)
    if transposed and groups_grow:
        # Its first dimension counts the groups, so that nothing is summed but the kernel.
        summed, stays = 1, 0
        fact = walk.fact(kernel)
        if walk.shape(kernel)[1] == 1 and fact.is_learned:
            walk.vector_use(index, kernel, result)
            return Fact(Kind.SIGNAL, walk.full(result), walk.fact(signal).ratio * fact.ratio)
    window = tuple(range(2, dims))
    kept: list[int | None] = [None] * len(walk.shape(result))
    kept[1] = stays
    channels = (1,) if walk.growth.grows(kernel, summed) else ()
    one = Side(signal, channels, (0, None, *range(2, len(kept))))
    fact = contract(walk, index, result, one, Side(kernel, (summed, *window), tuple(kept)))
    return _biased(walk, result, fact) if bias and fact.is_signal else fact


def bilinear(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of torch's bilinear layer: x A y, with a weight (out, in, in)."""
    one, weight, other = operation.inputs[:3]
    if [walk.growth.grows(weight, d) for d in (0, 1, 2)] == [False, True, True]:
        walk.unknown.append((index, "a sum over pairs of features"))
    for value in (one, other):
        walk.check(value, "a bilinear layer")
    kept: tuple[int | None, ...] = (None,) * (len(walk.shape(result)) - 1)
    return contract(walk, index, result, Side(one, (), ()), Side(weight, (1, 2), (*kept, 0)))


def distance(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of distances, roots of sums of squares over the last dimension.

    A factor of one side is none of theirs, so that neither can carry one.
    """
    x, y = operation.inputs[:2]
    facts = [walk.fact(v) for v in (x, y)]
    fan = walk.growth.sizes(x, (len(walk.shape(x)) - 1,))
    for value, fact in zip((x, y), facts, strict=True):
        if fact.is_learned:
            walk.vector_use(index, value, result)
    ratio, causes = max(fact.ratio for fact in facts), causes_of(facts)
    if fan:
        ratio *= (fan[1] / fan[0]) ** 0.5
        causes |= {Cause("sum", index, fan)}
    return Fact(dependence(facts), walk.full(result), ratio, causes=causes)


def summed_product(
    walk: Walk, index: int, value: int, result: int, dims: Sequence[int], fan: Sizes, *, mean: bool
) -> Fact | None:
    """Return the fact of a product of a signal and a weight that is summed afterwards.

    None where the value is no such product.
    """
    fact = walk.fact(value)
    factors = [f for f in fact.product if any(f.varies[d] for d in dims)]
    weights = [f for f in factors if f.kind == Kind.PARAMETERS]
    if not weights or len(factors) < 2:
        return None
    for name, leaf in weights[-1].leaves.items():
        rest = [d for d in range(len(leaf.dims)) if d not in dims]
        summed = frozenset[int]().union(*(leaf.dims[d] for d in dims))
        walk.use(
            name,
            Use(
                "contraction" if summed else "vector",
                index,
                result,
                fan=fan if summed else None,
                kept=walk.kept(value, leaf, rest),
                growing=walk.growing(value, leaf),
                summed=summed,
                stays=frozenset[int]().union(*(leaf.dims[d] for d in rest)),
                operand=value,
                is_normalised=abs(leaf.degree) < 1e-6,
                positive=leaf.positive,
                stepped=leaf.stepped,
            ),
        )
    causes = fact.causes | _of_shares(fact, index, fan)
    made = Fact(Kind.SIGNAL, walk.full(result), fact.ratio, causes=causes)
    if mean:
        shrink = fan[0] / fan[1]
        return scaled(made, shrink, Cause("number", index, fan))
    return made
