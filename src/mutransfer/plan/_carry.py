"""Which learned tensors carry which multipliers, so that the forward pass needs none."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from .._errors import MutransferError
from ..rules import ONE, Parametrization, Place, Powers, powers
from ._read import Match
from ._trace import Attention, Trace


class Carried(NamedTuple):
    """A multiplier of some signal that a learned tensor carries, the ratio it is a power of, and why."""

    multiplier: Powers
    ratio: Fraction
    why: str


def carried_by(rule: Parametrization, matches: Mapping[str, Match], own: Trace, base: Trace) -> dict[str, list[Carried]]:
    """The multipliers that each tensor carries for a signal it makes, but for those of residual branches."""
    parts = (_head_inputs(rule, matches, own), _queries(rule, own, base))
    return {name: [part[name] for part in parts if name in part] for name in matches}


def places_of(rule: Parametrization, own: Trace, depth: Fraction) -> dict[str, Place]:
    """Where the tensors of residual branches stand; the last ones carry the branch's multiplier, so deeper branches need some."""
    places = {name: Place.BRANCH for branch in own.branches for name in branch.tensors}
    if rule.branch_multiplier == ONE or depth == 1:
        return places | {name: Place.BRANCH_END for branch in own.branches for name in branch.last or ()}
    if own.post_norm:
        raise MutransferError(
            "a normalisation follows the residual joins (post-norm), and no rule is known for its depth (2203.03466, Table 1); "
            'keep the depth, or scale width alone with rule="mup"'
        )
    for number, branch in enumerate(own.branches):
        if branch.last is None:
            raise MutransferError(
                f"residual branch {number + 1} of {len(own.branches)} (with {min(branch.tensors)}) does not end in learned tensors "
                f"that could carry its multiplier {rule.branch_multiplier}: end it with a linear layer or an affine norm"
            )
        places |= dict.fromkeys(branch.last, Place.BRANCH_END)
    return places


def _head_inputs(rule: Parametrization, matches: Mapping[str, Match], own: Trace) -> dict[str, Carried]:
    """The tensors that feed tied heads."""
    inputs = dict[str, Carried]()
    for name, m in matches.items():
        if m.parameter.kind != "embedding" or name not in own.feeds or m.ratio("out") == 1:
            continue
        feeds = own.feeds[name]
        if feeds is None:
            raise MutransferError(
                f"{name} is also the head, and its input is not made by learned tensors that could carry "
                "the logits' multiplier 1/fan_in: put a norm with a gain before the head, or untie it"
            )
        multiplier = rule.logit_multiplier.substitute(fan_in="head_fan_in")
        inputs |= dict.fromkeys(
            feeds, Carried(multiplier, m.ratio("out"), f"feeds the tied head {name} and carries the logits' multiplier")
        )
    return inputs


def _queries(rule: Parametrization, own: Trace, base: Trace) -> dict[str, Carried]:
    """The tensors that make queries of growing heads."""
    queries = dict[str, Carried]()
    for own_attention, base_attention in _paired(own.attention, base.attention):
        ratio = Fraction(own_attention.head_dim, base_attention.head_dim)
        missing = _missing_scale(rule, own_attention, base_attention, ratio)
        if missing == ONE:
            continue
        if own_attention.query is None:
            raise MutransferError(
                f"the head dimension grows from {base_attention.head_dim} to {own_attention.head_dim} and no learned tensor can carry "
                f"the factor {missing} of the attention logits: grow the number of heads instead, "
                "or give scale=1/head_dim to scaled_dot_product_attention"
            )
        what = Carried(missing, ratio, "makes the queries and carries what the attention logits lack to 1/head_dim")
        queries |= dict.fromkeys(own_attention.query, what)
    return queries


def _paired(own: tuple[Attention, ...], base: tuple[Attention, ...]) -> list[tuple[Attention, Attention]]:
    if len(own) == len(base):
        return list(zip(own, base, strict=True))
    if len({(a.head_dim, a.scale) for a in base}) != 1:
        raise MutransferError("depth grows and the base's attentions have several head sizes or scales: give all layers the same")
    return [(a, base[0]) for a in own]


def _missing_scale(rule: Parametrization, own: Attention, base: Attention, head_dim: Fraction) -> Powers:
    """What the model's own attention scale lacks, as a power of the head dimension's ratio."""
    if head_dim == 1:
        return ONE
    if own.scale is None or base.scale is None:
        raise MutransferError(
            f"the head dimension grows from {base.head_dim} to {own.head_dim} in an attention written out by hand, "
            "whose scale cannot be read: use scaled_dot_product_attention, or grow the number of heads instead"
        )
    change = own.scale / base.scale
    for exponent in ("0", "-1/2", "-1"):
        if abs(change - powers(head_dim=exponent).evaluate({"head_dim": head_dim})) < 1e-9:
            return rule.attention_scale / powers(head_dim=exponent)
    raise MutransferError(
        f"the attention scale changes by {change:g} while the head dimension grows {head_dim} times: "
        "neither constant, 1/sqrt(head_dim) nor 1/head_dim"
    )
