"""Lengths of weights that meet signals, at the planned initial scale."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ._facts import Drawn, Fact, Leaf, causes_of_weight
from ._walk import Use, Walk


def with_lengths(walk: Walk, fact: Fact) -> Fact:
    """Return a weight whose lengths have the size at which its tensors are drawn.

    Other entries count as even, since the role of a tensor sees to the sums over them.
    """
    if not fact.is_learned:
        return fact
    ratio = fact.ratio
    for name, leaf in fact.leaves.items():
        if leaf.is_reduced and not leaf.is_added:
            walk.measured.add(name)
            ratio *= _ratio(walk.drawn.get(name), leaf)
    return replace(fact, ratio=ratio, causes=causes_of_weight(fact))


def _ratio(drawn: Drawn | None, leaf: Leaf) -> float:
    """Return the growth of a length; 1 where it runs along a summed dimension."""
    if drawn is None or drawn.summed & frozenset[int]().union(*leaf.dims):
        return 1.0
    return float(drawn.ratio**leaf.degree)


def drawn_scales(walk: Walk) -> dict[str, Drawn]:
    """Return the growth of the initial scales of tensors whose lengths meet signals."""
    found = {name: _drawn(walk.uses.get(name, ())) for name in walk.measured}
    return {name: drawn for name, drawn in found.items() if drawn is not None}


def _drawn(uses: Collection[Use]) -> Drawn | None:
    """Return the growth of an initial scale; None where it does not change."""
    contracted = [use for use in uses if use.kind == "contraction" and not use.with_constant]
    summed = [use for use in contracted if use.fan]
    fan = next((use.fan for use in summed if use.fan), None)
    if fan is None:
        return None
    dims = frozenset[int]().union(*(use.summed & use.growing for use in summed))
    if any(use.kept or use.others_grow for use in summed):
        return Drawn((fan[0] / fan[1]) ** 0.5, dims)
    # The scale of a tied tensor is that of an embedding.
    is_tied = any(use.kind == "lookup" or (use in contracted and use.kept) for use in uses)
    return None if is_tied else Drawn(fan[0] / fan[1], dims)
