"""Checks that a model and its base are one family of sizes in depth."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from ..core import MutransferError
from ..reading import Reading, Trace
from ._match import Match


def check_same_family(matches: Mapping[str, Match], target: Reading, base: Reading) -> None:
    """Raise where the two forward passes differ in a way that no rule explains.

    Args:
        matches: The model's parameters with their counterparts in the base.
        target: The reading of the model.
        base: The reading of its base.

    Raises:
        MutransferError: depth grew outside residual branches, the number of uses of a tensor grew,
            or one of the two was declared and the other traced.
    """
    _check_uses(matches, target.trace, base.trace)
    _check_depth(matches, target.trace, base.trace)
    if target.head_dims != base.head_dims:
        raise MutransferError(
            "the head dimension of nn.MultiheadAttention grows from "
            f"{list(base.head_dims)} to {list(target.head_dims)}, and its scale cannot be read: "
            "grow the number of heads instead"
        )


def _check_uses(matches: Mapping[str, Match], target: Trace, base: Trace) -> None:
    if target.declared != base.declared:
        raise MutransferError(
            f"the branches of the {'model' if target.declared else 'base'} were declared and those "
            "of the other were traced: give branches= to both (mutransfer.read takes it, too), "
            "or to neither"
        )
    for name, m in matches.items():
        base_uses = {base.uses.get(each, 0) for each in m.base_run}
        uses = target.uses.get(name, 0)
        if m.parameter.kind == "matrix" and not target.declared and uses not in base_uses:
            raise MutransferError(
                f"{name} is used {uses} times in a forward pass, in the base {min(base_uses)} "
                "times: no rule is known for a growing number of loops or uses; keep it, and grow "
                "width or the number of blocks that have tensors of their own"
            )


def _check_depth(matches: Mapping[str, Match], target: Trace, base: Trace) -> None:
    count, base_count = len(target.branches), len(base.branches)
    if count < base_count or (count > base_count == 0):
        raise MutransferError(
            f"the model has {count} residual branches and the base {base_count}; "
            "the base must have at least one and not more than the model"
        )
    inside = frozenset[str]().union(*(branch.tensors for branch in target.branches))
    grown = {name: Fraction(len(m.run), len(m.base_run)) for name, m in matches.items()}
    if target.declared:
        _check_declared({name: ratio for name, ratio in grown.items() if name not in inside})
    # Without branches every layer counts: depth must not grow at all then.
    layers = {ratio: name for name, ratio in grown.items() if name in inside or not count}
    ratio = Fraction(count, base_count) if base_count else Fraction(1)
    if (len(layers) == 1 or ratio == 1) and {ratio} != layers.keys():
        layer_ratio, name = next((r, n) for r, n in layers.items() if r != ratio)
        raise MutransferError(
            f"there are {layer_ratio} times as many layers like {name} as in the base, but "
            f"{ratio} times as many residual branches ({count}, in the base {base_count}): no rule "
            "is known for depth without residual branches of one kind"
        )
    if target.branches:
        deepest, base_deepest = (
            max(branch.matrices for branch in trace.branches) for trace in (target, base)
        )
        if deepest != base_deepest:
            raise MutransferError(
                f"a residual branch has {deepest} matrices in series, in the base {base_deepest}: "
                "keep the branches as deep"
            )


def _check_declared(outside: Mapping[str, Fraction]) -> None:
    forgotten = next((name for name, ratio in outside.items() if ratio != 1), None)
    if forgotten is not None:
        raise MutransferError(
            f"there are {outside[forgotten]} times as many layers like {forgotten} as in the base, "
            "and no declared branch has them: name all tensors of every residual branch in "
            "branches="
        )
