"""Views and movements: where each dimension of a result comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..reading import Operation
from ._facts import Fact, Factor, Leaf

Sources = list[set[int]]
"""For each dimension of a result, the dimensions of the input that it runs along."""

RESHAPES = frozenset(
    {"view", "_unsafe_view", "reshape", "squeeze", "flatten", "_reshape_alias", "unflatten"}
)


def reshaped(before: Sequence[int], after: Sequence[int]) -> Sources:
    """Return the sources of a reshape, by groups of equal size."""
    found: Sources = [set() for _ in after]
    a = b = 0
    while a < len(before) or b < len(after):
        inside, outside, p, q = [], [], 1, 1
        if a < len(before):
            p, a = before[a], a + 1
            inside.append(a - 1)
        if b < len(after):
            q, b = after[b], b + 1
            outside.append(b - 1)
        while p != q:
            if p < q and a < len(before):
                p, a = p * before[a], a + 1
                inside.append(a - 1)
            elif p > q and b < len(after):
                q, b = q * after[b], b + 1
                outside.append(b - 1)
            else:
                return [set(range(len(before))) for _ in after]
        for k in outside:
            found[k] = set(inside) if after[k] != 1 else set()
    return found


def sources(operation: Operation, before: Sequence[int], after: Sequence[int]) -> Sources:
    """Return where the dimensions of a view's result come from."""
    name, arguments, n = operation.name, operation.arguments, len(before)
    if name in {"t", "numpy_T"}:
        return [{k} for k in range(n)][::-1]
    if name in {"transpose", "swapaxes"}:
        order = list(range(n))
        i, j = arguments[1] % n, arguments[2] % n
        order[i], order[j] = order[j], order[i]
        return [{k} for k in order]
    if name in {"permute", "movedim"} and isinstance(arguments[1], tuple):
        return [{k % n} for k in arguments[1]]
    if name in {"select", "unbind"}:
        gone = (arguments[1] if len(arguments) > 1 else 0) % n
        return [{k} for k in range(n) if k != gone]
    if name == "unsqueeze":
        at = arguments[1] % (n + 1)
        kept: Sources = [{k} for k in range(n)]
        return [*kept[:at], set(), *kept[at:]]
    if name == "view_as_real":
        return [*({k} for k in range(n)), set()]
    if name == "view_as_complex":
        return [{k} for k in range(n - 1)]
    if name == "unfold":
        return [*({k} for k in range(n)), {arguments[1] % n}]
    if name in RESHAPES:
        return reshaped(before, after)
    if len(after) >= n:
        # Broadcasting aligns the last dimensions.
        shift = len(after) - n
        return [
            {k - shift} if k >= shift and (before[k - shift] != 1 or after[k] == 1) else set()
            for k in range(len(after))
        ]
    if math.prod(before) == math.prod(after):
        return reshaped(before, after)
    return [set(range(n)) for _ in after]


def moved(fact: Fact, where: Sources, after: Sequence[int]) -> Fact:
    """Return what is known of a result whose dimensions come from these sources."""

    def mask(varies: tuple[bool, ...]) -> tuple[bool, ...]:
        return tuple(
            after[k] != 1 and any(varies[d] for d in dims if d < len(varies))
            for k, dims in enumerate(where)
        )

    def leaf(each: Leaf) -> Leaf:
        dims = tuple(
            frozenset[int]().union(*(each.dims[d] for d in source if d < len(each.dims)))
            if after[k] != 1
            else frozenset[int]()
            for k, source in enumerate(where)
        )
        return replace(each, dims=dims)

    return Fact(
        kind=fact.kind,
        varies=mask(fact.varies),
        ratio=fact.ratio,
        leaves={name: leaf(each) for name, each in fact.leaves.items()},
        causes=fact.causes,
        product=tuple(
            Factor(f.kind, mask(f.varies), {n: leaf(each) for n, each in f.leaves.items()})
            for f in fact.product
        ),
        parts={
            k: fact.parts[d]
            for k, dims in enumerate(where)
            for d in dims
            if d in fact.parts and len(dims) == 1
        },
        multiplied=fact.multiplied,
    )
