"""The learned tensors that carry the multipliers of a model's signals.

The forward pass then needs none. Where no learned tensor can carry a multiplier, the output of a
module is multiplied instead, by a forward hook.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from ..core import MutransferError
from ..reading import NOTHING, Attention, Branch, Signal, Trace
from ..rules import ONE, Parametrization, Place, Powers, Reason, powers
from ._match import Match
from ._own_factors import OwnFactor, own_factors


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A multiplier of some signal that is folded into a tensor.

    Attributes:
        kind: "branch", "tied-head", "attention" or "own-factor", as in `Reason`.
        multiplier: The multiplier.
        ratios: The ratios that it is a power of, target over base.
        text: Why the tensor carries it.
        fact: What was read off the model, without what follows from it; for warnings.
    """

    kind: str
    multiplier: Powers
    ratios: Mapping[str, Fraction]
    text: str
    fact: str = ""

    @property
    def reason(self) -> Reason:
        """The reason that goes into the plan."""
        return Reason(self.kind, self.text, self.multiplier)


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """The places of the multipliers of a model's signals.

    Attributes:
        tensors: The multipliers that each learned tensor carries, but for that of a branch's end.
        modules: The multipliers of the outputs of modules, where no learned tensor can carry them.
        places: The place of each tensor of a residual branch.
    """

    tensors: Mapping[str, list[Carried]]
    modules: Mapping[str, list[Carried]]
    places: Mapping[str, Place]

    def of_kind(self, kind: str) -> list[Carried]:
        """Return the multipliers of one kind, those of tensors first."""
        lists = [*self.tensors.values(), *self.modules.values()]
        return [carried for each in lists for carried in each if carried.kind == kind]


class _Wanted(NamedTuple):
    """A signal that wants a multiplier, and the refusal where nothing can carry it."""

    signal: Signal
    carried: Carried
    refusal: str


def multipliers(
    rule: Parametrization,
    matches: Mapping[str, Match],
    target: Trace,
    base: Trace,
    depth: Fraction,
    *,
    hooks: bool,
) -> Multipliers:
    """Give every multiplier that the rule wants to the tensors that can carry it.

    Args:
        rule: The parametrization.
        matches: The model's parameters with their counterparts in the base.
        target: The forward pass of the model.
        base: The forward pass of its base.
        depth: Ratio of the numbers of residual branches.
        hooks: True if the output of a module may be multiplied where no tensor can carry it.

    Raises:
        MutransferError: nothing can carry a multiplier.
    """
    tensors: dict[str, list[Carried]] = {name: [] for name in matches}
    modules: dict[str, list[Carried]] = {}
    places = _places(rule, target, depth)
    wanted = [*_head_inputs(rule, matches, target), *_queries(rule, target, base)]
    wanted += [_undone(each) for each in own_factors(rule, matches, target, base)]
    for each in wanted:
        if each.signal.tensors is None:
            _hook(modules, each, hooks)
        for name in each.signal.tensors or ():
            tensors[name].append(each.carried)
    if rule.branch_multiplier != ONE and depth != 1:
        for each in _bare_ends(rule, target.branches, depth):
            _hook(modules, each, hooks)
    return Multipliers(
        tensors={name: _merged(carried) for name, carried in tensors.items()},
        modules={name: _merged(carried) for name, carried in modules.items()},
        places=places,
    )


def _merged(carried: list[Carried]) -> list[Carried]:
    """Return the multipliers with all factors of the model's own as one, at the end."""
    factors = [each for each in carried if each.kind == "own-factor"]
    if not factors:
        return carried
    total = math.prod((factor.ratios["own_factor"] for factor in factors), start=Fraction(1))
    text = " and ".join(factor.text for factor in factors)
    rest = [each for each in carried if each.kind != "own-factor"]
    return [*rest, replace(factors[0], ratios={"own_factor": total}, text=text)]


def _hook(modules: dict[str, list[Carried]], wanted: _Wanted, hooks: bool) -> None:
    """Give a multiplier to the module that puts the signal out."""
    module = wanted.signal.module
    if module is None or not hooks:
        offer = (
            f"; or let {module} have a forward hook that multiplies its output, with hooks=True"
            if module
            else ""
        )
        raise MutransferError(wanted.refusal + offer)
    modules.setdefault(module, []).append(wanted.carried)


def _places(rule: Parametrization, target: Trace, depth: Fraction) -> dict[str, Place]:
    """Return the places in residual branches; the last tensors carry the multiplier."""
    if rule.branch_multiplier != ONE and depth != 1 and target.post_norm:
        raise MutransferError(
            "a normalisation follows the residual joins (post-norm), and no rule is known for its "
            'depth (2203.03466, Table 1); keep the depth, or scale width alone with rule="mup"'
        )
    places = {name: Place.BRANCH for branch in target.branches for name in branch.tensors}
    ends = {name for branch in target.branches for name in branch.end.tensors or ()}
    return places | dict.fromkeys(ends, Place.BRANCH_END)


def _bare_ends(
    rule: Parametrization, branches: Sequence[Branch], depth: Fraction
) -> Iterator[_Wanted]:
    """Yield the outputs of residual branches that do not end in learned tensors."""
    multiplier = rule.branch_multiplier
    carried = Carried(
        kind="branch",
        multiplier=multiplier,
        ratios={"depth": depth},
        text="ends a residual branch, with its multiplier",
    )
    for number, branch in enumerate(branches, 1):
        if branch.end.tensors is None:
            refusal = (
                f"residual branch {number} of {len(branches)} (with {min(branch.tensors)}) does "
                f"not end in learned tensors that could carry its multiplier {multiplier}: end it "
                "with a linear layer or an affine norm"
            )
            yield _Wanted(branch.end, carried, refusal)


def _head_inputs(
    rule: Parametrization, matches: Mapping[str, Match], target: Trace
) -> Iterator[_Wanted]:
    """Yield the inputs of tied heads."""
    for name, m in matches.items():
        is_head = m.parameter.kind == "embedding" and name in target.feeds
        if not is_head or m.ratio("out") == 1:
            continue
        carried = Carried(
            kind="tied-head",
            multiplier=rule.logit_multiplier.substitute(fan_in="head_fan_in"),
            ratios={"head_fan_in": m.ratio("out")},
            text=f"feeds the tied head {name} and carries the logits' multiplier",
        )
        refusal = (
            f"{name} is also the head, and its input is not made by learned tensors that could "
            "carry the logits' multiplier 1/fan_in: put a norm with a gain before the head, or "
            "untie it"
        )
        yield _Wanted(target.feeds[name], carried, refusal)


def _queries(rule: Parametrization, target: Trace, base: Trace) -> Iterator[_Wanted]:
    """Yield the queries of growing heads."""
    seen = set[Signal]()
    for attention, base_attention in _paired(target.attention, base.attention):
        ratio = Fraction(attention.head_dim, base_attention.head_dim)
        missing = _missing_scale(rule, attention, base_attention, ratio)
        known = attention.query.tensors is not None and attention.query in seen
        if missing == ONE or known:
            continue
        seen.add(attention.query)
        carried = Carried(
            kind="attention",
            multiplier=missing,
            ratios={"head_dim": ratio},
            text="makes the queries and carries what the attention logits lack to 1/head_dim",
        )
        refusal = (
            f"the head dimension grows from {base_attention.head_dim} to {attention.head_dim} and "
            f"no learned tensor can carry the factor {missing} of the attention logits: grow the "
            "number of heads instead, or give scale=1/head_dim to scaled_dot_product_attention"
        )
        yield _Wanted(attention.query, carried, refusal)


def _paired(
    target: tuple[Attention, ...], base: tuple[Attention, ...]
) -> list[tuple[Attention, Attention]]:
    if len(target) == len(base):
        return list(zip(target, base, strict=True))
    if len({(a.head_dim, a.scale) for a in base}) != 1:
        raise MutransferError(
            "depth grows and the base's attentions have several head sizes or scales: "
            "give all layers the same"
        )
    return [(a, base[0]) for a in target]


def _missing_scale(
    rule: Parametrization, target: Attention, base: Attention, head_dim: Fraction
) -> Powers:
    """Return the power of head_dim that the model's attention scale lacks."""
    if head_dim == 1:
        return ONE
    if target.scale is None or base.scale is None:
        raise MutransferError(
            f"the head dimension grows from {base.head_dim} to {target.head_dim} in an attention "
            "written out by hand, whose scale cannot be read: use scaled_dot_product_attention, "
            "or grow the number of heads instead"
        )
    change = target.scale / base.scale
    for exponent in ("0", "-1/2", "-1"):
        power = powers(head_dim=exponent)
        if abs(change - power.evaluate({"head_dim": head_dim})) < 1e-9:
            return rule.attention_scale / power
    raise MutransferError(
        f"the attention scale changes by {change:g} while the head dimension grows {head_dim} "
        "times: neither constant, 1/sqrt(head_dim) nor 1/head_dim"
    )


def _undone(factor: OwnFactor) -> _Wanted:
    """Return the multiplier that undoes a factor of the model's own."""
    carried = Carried(
        kind="own-factor",
        multiplier=powers(own_factor="-1/2"),
        ratios={"own_factor": factor.squared},
        text=f"{factor.fact}, undone by {factor.inverse:.6g},",
        fact=factor.fact,
    )
    refusal = (
        f"{factor.fact}, and nothing learned can undo this: "
        "multiply by the same number at all sizes"
    )
    return _Wanted(factor.signal if factor.is_clear else NOTHING, carried, refusal)
