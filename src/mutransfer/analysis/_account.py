"""Every sum over a growing dimension, accounted for: the rule of each operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from ..reading import Operation, Program
from ._constants import beside_numbers
from ._contractions import bilinear, convolution, distance, matrix_product
from ._elementwise import function, joined, placed, positive, power, product, total
from ._facts import Cause, Fact, Kind, dependence
from ._growth import Growth, Sizes
from ._layers import lookup, norm, orthonormal, weight_norm
from ._lengths import drawn_scales
from ._operations import (
    BOUNDED,
    COMPARISONS,
    CONVOLUTIONS,
    FACTORS,
    KEPT,
    LOG_SOFTMAXES,
    LOOKUPS,
    NONLINEAR,
    NORMS,
    ONE_SIGN,
    ORTHONORMAL,
    PLACED,
    PRODUCTS,
    QUANTIZED,
    REDUCTIONS,
    SOFTMAXES,
    SORTED,
    STEPS,
)
from ._reductions import fourier, reduction
from ._repeats import repeats
from ._stars import Stars
from ._steps import WHOLE, compared, in_steps, quantized, step
from ._walk import Walk, scaled

Rule = Callable[[Walk, int, Operation, int], Fact]


def _table(*rows: tuple[Iterable[str], Rule]) -> dict[str, Rule]:
    return {name: rule for names, rule in rows for name in names}


def _moved(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a view, or of an operation that keeps the size of entries."""
    value = operation.inputs[0]
    if operation.name in BOUNDED:
        beside_numbers(walk, index, operation, (1, 2, "min", "max"))
    fact = walk.fact(value)
    if operation.name in {"select", "unbind"}:
        dim = operation.arguments[1] if len(operation.arguments) > 1 else 0
        for name, leaf in fact.leaves.items():
            walk.picked.setdefault(name, set()).update(leaf.dims[int(dim) % len(leaf.dims)])
        source = walk.program.values[value]
        if source.kind == "parameter":  # of one layer alone, too, along which nothing varies
            walk.picked.setdefault(source.name, set()).add(int(dim) % len(source.shape))
    _note_pieces(walk, operation, value, result, fact)
    moved = walk.moved(operation, value, result)
    if operation.name in ONE_SIGN and moved.is_learned:
        moved = replace(moved, leaves=positive(moved.leaves, operation.name))
    values = walk.program.values
    if moved.is_learned and values[value].is_float and not values[result].is_float:
        moved = replace(moved, leaves=in_steps(moved.leaves, WHOLE))
    if operation.name == "cumsum" and (fan := walk.growth.sizes(value, (_dim(walk, operation),))):
        moved = scaled(moved, fan[1] / fan[0], Cause("sum", index, fan))
    if operation.name == "constant_pad_nd":
        moved = replace(moved, parts={**moved.parts, **_padded(walk, value, result)})
    for other in operation.inputs[1:]:
        if walk.fact(other).is_learned and moved.is_signal:
            walk.vector_use(index, other, result)
    return moved


def _dim(walk: Walk, operation: Operation) -> int:
    dim = operation.arguments[1] if len(operation.arguments) > 1 else 0
    return int(dim) % len(walk.shape(operation.inputs[0])) if isinstance(dim, int) else 0


def _note_pieces(walk: Walk, operation: Operation, value: int, result: int, fact: Fact) -> None:
    """Note the dimension of a weight that is cut into layers: the pieces do not grow."""
    if operation.name not in {"split", "split_with_sizes", "slice", "chunk", "narrow"}:
        return
    stays = walk.growth.growing(result)
    for d in walk.growth.growing(value):
        if not walk.growth.grows(result, d):
            for name, leaf in fact.leaves.items():
                # What the piece still runs along counts no layers, as in a skew matrix.
                rest = frozenset[int]().union(*(leaf.dims[k] for k in stays))
                walk.picked.setdefault(name, set()).update(leaf.dims[d] - rest)


def _padded(walk: Walk, value: int, result: int) -> dict[int, tuple[Sizes, ...]]:
    """Return the pieces of growing dimensions that stand beside padding."""
    found: dict[int, tuple[Sizes, ...]] = {}
    for d in walk.growth.growing(value):
        here, there = walk.shape(value)[d], walk.growth.shape(value)[d]
        whole = walk.shape(result)[d], walk.growth.shape(result)[d]
        if whole != (here, there):
            walk.growth.concatenated.add(whole)
            found[d] = ((here, there), (whole[0] - here, whole[1] - there))
    return found


def _orthonormal(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of an orthogonal map of a weight; that of a signal has no rule."""
    of_weight = dependence(map(walk.fact, operation.inputs)) == Kind.PARAMETERS
    first = result == operation.results[0]
    rule = orthonormal if of_weight and first else _unknown
    return rule(walk, index, operation, result)


def _quantized(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of a rounding to a grid; a signal keeps its size."""
    of_weight = dependence(map(walk.fact, operation.inputs)) == Kind.PARAMETERS
    if of_weight and walk.fact(operation.inputs[0]).is_learned:
        return quantized(walk, operation, result)
    return _unknown(walk, index, operation, result)


RULES: dict[str, Rule] = _table(
    (KEPT, _moved),
    (COMPARISONS | SORTED, compared),
    (STEPS, step),
    (QUANTIZED, _quantized),
    (PRODUCTS, matrix_product),
    (CONVOLUTIONS, convolution),
    (("_trilinear",), bilinear),
    (("_cdist_forward", "_euclidean_dist", "cdist"), distance),
    (LOOKUPS, lookup),
    (NORMS, norm),
    (("_weight_norm_interface", "_weight_norm"), weight_norm),
    (ORTHONORMAL, _orthonormal),
    (REDUCTIONS, reduction),
    (("_fft_c2c", "_fft_r2c", "_fft_c2r"), fourier),
    (("add", "sub", "rsub"), total),
    (FACTORS, product),
    (("pow", "square", "sqrt", "rsqrt", "reciprocal"), power),
    (NONLINEAR | SOFTMAXES | LOG_SOFTMAXES, function),
    (("cat", "stack"), joined),
    (PLACED, placed),
)
"""The rule of each operation, by its name."""


def account(base: Program, other: Program, stars: Stars, counts: Collection[Sizes] = ()) -> Walk:
    """Walk over the base, with another size of the same architecture beside it."""
    growth = Growth(base, other, stars, counts)
    walk = _passed(Walk(growth))
    # Roles follow from uses, so that initial scales are known after a first pass.
    scales = drawn_scales(walk)
    return _passed(Walk(growth, scales)) if scales else walk


def _passed(walk: Walk) -> Walk:
    """Return a walk after it passed all operations."""
    base, sums = walk.program, repeats(walk)
    for index, operation in enumerate(base.operations):
        rule = sums.rule(operation) or _rule(walk, operation)
        for result in operation.results:
            if result is not None and base.values[result].kind == "result":
                walk.learn(result, sums.fact(index, result, rule(walk, index, operation, result)))
    for value in base.outputs:
        walk.check(value, "output")
    return walk


def _rule(walk: Walk, operation: Operation) -> Rule:
    """Return the rule of an operation; one without tensors makes a constant."""
    if not operation.inputs:
        return lambda walk, index, operation, result: walk.constant(result)
    if operation.name in {"max", "min"} and len(operation.inputs) > 1:
        return placed
    return RULES.get(operation.name, _unknown)


def _unknown(walk: Walk, index: int, operation: Operation, result: int) -> Fact:
    """Return the fact of an operation without a rule: the size of its first signal.

    One that swallows a growing dimension may hide a sum, so it is noted.
    """
    facts = [walk.fact(v) for v in operation.inputs]
    kind = dependence(facts)
    if kind == Kind.CONSTANT:
        return walk.constant(result)
    before = max((len(walk.growth.growing(v)) for v in operation.inputs), default=0)
    if before > len(walk.growth.growing(result)):
        walk.unknown.append((index, operation.name))
    for value, fact in zip(operation.inputs, facts, strict=True):
        if fact.is_learned and kind == Kind.SIGNAL:
            walk.vector_use(index, value, result)
    known = next((f for f in facts if f.kind == kind), facts[0])
    if kind == Kind.PARAMETERS:
        same = len(known.varies) == len(walk.shape(result))
        return replace(known, varies=walk.full(result), leaves=known.leaves if same else {})
    return Fact(kind, walk.full(result), known.ratio, causes=known.causes)
