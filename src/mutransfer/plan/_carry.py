"""Which learned tensors carry which multipliers, so that the forward pass needs none; where none can, which module's output does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from .._errors import MutransferError
from ..rules import ONE, Parametrization, Place, Powers, powers
from ._graph import NOTHING, Signal
from ._read import Match, pattern
from ._trace import Attention, Branch, Trace


class Carried(NamedTuple):
    """A multiplier of some signal, the ratios it is a power of, and why."""

    multiplier: Powers
    ratios: Mapping[str, Fraction]
    why: str


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """Where the multipliers of a model's signals go.

    Attributes:
        tensors: What each learned tensor carries, but for what it carries as the end of a residual branch.
        modules: What the outputs of modules are multiplied by in the forward pass, where no learned tensor can carry it.
        places: Where the tensors of residual branches stand.
    """

    tensors: Mapping[str, list[Carried]]
    modules: Mapping[str, list[Carried]]
    places: Mapping[str, Place]


class _Wanted(NamedTuple):
    """A signal that wants a multiplier, and what to say where nothing can carry it."""

    signal: Signal
    carried: Carried
    refusal: str


def multipliers(
    rule: Parametrization, matches: Mapping[str, Match], own: Trace, base: Trace, depth: Fraction, *, hooks: bool
) -> Multipliers:
    """Give every multiplier that the rule wants to the tensors that can carry it.

    Args:
        rule: The parametrization.
        matches: The model's parameters beside the base's.
        own: What was read off the model.
        base: What was read off its base.
        depth: Ratio of the numbers of residual branches.
        hooks: Whether the output of a module may be multiplied where no tensor can carry a multiplier.

    Raises:
        MutransferError: nothing can carry a multiplier.
    """
    tensors: dict[str, list[Carried]] = {name: [] for name in matches}
    modules: dict[str, list[Carried]] = {}
    places = _places(rule, own, depth)
    for wanted in (*_head_inputs(rule, matches, own), *_queries(rule, own, base), *_own_factors(rule, matches, own, base)):
        if wanted.signal.tensors is None:
            _hook(modules, wanted, hooks)
        for name in wanted.signal.tensors or ():
            tensors[name].append(wanted.carried)
    if rule.branch_multiplier != ONE and depth != 1:
        for wanted in _bare_ends(rule, own.branches, depth):
            _hook(modules, wanted, hooks)
    return Multipliers(
        tensors={name: _merged(each) for name, each in tensors.items()},
        modules={name: _merged(each) for name, each in modules.items()},
        places=places,
    )


def _merged(carried: list[Carried]) -> list[Carried]:
    """The same with the ratios of several factors of the model's own as one."""
    total = math.prod((each.ratios.get("own_factor", Fraction(1)) for each in carried), start=Fraction(1))
    own = [each for each in carried if "own_factor" in each.ratios]
    whys = " and ".join(each.why for each in own)
    rest = [each for each in carried if "own_factor" not in each.ratios]
    return rest + ([own[0]._replace(ratios={"own_factor": total}, why=whys)] if own else [])


def _hook(modules: dict[str, list[Carried]], wanted: _Wanted, hooks: bool) -> None:
    """Give a multiplier to the module that puts the signal out."""
    module = wanted.signal.module
    if module is None or not hooks:
        offer = f"; or let {module} have a forward hook that multiplies its output, with hooks=True" if module else ""
        raise MutransferError(wanted.refusal + offer)
    modules.setdefault(module, []).append(wanted.carried)


def _places(rule: Parametrization, own: Trace, depth: Fraction) -> dict[str, Place]:
    """Where the tensors of residual branches stand; the last ones carry the branch's multiplier."""
    if rule.branch_multiplier != ONE and depth != 1 and own.post_norm:
        raise MutransferError(
            "a normalisation follows the residual joins (post-norm), and no rule is known for its depth (2203.03466, Table 1); "
            'keep the depth, or scale width alone with rule="mup"'
        )
    places = {name: Place.BRANCH for branch in own.branches for name in branch.tensors}
    return places | {name: Place.BRANCH_END for branch in own.branches for name in branch.end.tensors or ()}


def _bare_ends(rule: Parametrization, branches: Sequence[Branch], depth: Fraction) -> Iterator[_Wanted]:
    """The residual branches that do not end in learned tensors."""
    multiplier = rule.branch_multiplier
    for number, branch in enumerate(branches):
        if branch.end.tensors is None:
            refusal = (
                f"residual branch {number + 1} of {len(branches)} (with {min(branch.tensors)}) does not end in learned tensors "
                f"that could carry its multiplier {multiplier}: end it with a linear layer or an affine norm"
            )
            yield _Wanted(branch.end, Carried(multiplier, {"depth": depth}, "ends a residual branch, with its multiplier"), refusal)


def _head_inputs(rule: Parametrization, matches: Mapping[str, Match], own: Trace) -> Iterator[_Wanted]:
    """What feeds tied heads."""
    for name, m in matches.items():
        if m.parameter.kind != "embedding" or name not in own.feeds or m.ratio("out") == 1:
            continue
        carried = Carried(
            rule.logit_multiplier.substitute(fan_in="head_fan_in"),
            {"head_fan_in": m.ratio("out")},
            f"feeds the tied head {name} and carries the logits' multiplier",
        )
        refusal = (
            f"{name} is also the head, and its input is not made by learned tensors that could carry "
            "the logits' multiplier 1/fan_in: put a norm with a gain before the head, or untie it"
        )
        yield _Wanted(own.feeds[name], carried, refusal)


def _queries(rule: Parametrization, own: Trace, base: Trace) -> Iterator[_Wanted]:
    """The queries of growing heads."""
    seen = set[Signal]()
    for own_attention, base_attention in _paired(own.attention, base.attention):
        ratio = Fraction(own_attention.head_dim, base_attention.head_dim)
        missing = _missing_scale(rule, own_attention, base_attention, ratio)
        if missing == ONE or (own_attention.query.tensors is not None and own_attention.query in seen):
            continue
        seen.add(own_attention.query)
        carried = Carried(missing, {"head_dim": ratio}, "makes the queries and carries what the attention logits lack to 1/head_dim")
        refusal = (
            f"the head dimension grows from {base_attention.head_dim} to {own_attention.head_dim} and no learned tensor can carry "
            f"the factor {missing} of the attention logits: grow the number of heads instead, "
            "or give scale=1/head_dim to scaled_dot_product_attention"
        )
        yield _Wanted(own_attention.query, carried, refusal)


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


def _own_factors(rule: Parametrization, matches: Mapping[str, Match], own: Trace, base: Trace) -> Iterator[_Wanted]:
    """The numbers that the model itself multiplies signals by, such as sqrt(width) behind its embedding, undone where they changed.

    A rule that says nothing of depth leaves those of branches as they are.
    """
    base_values = _by_kind(base.factors, {name: m.base_run[0] for m in matches.values() for name in m.base_run})
    own_values = _by_kind(own.factors, {name: m.base_run[0] for name, m in matches.items()})
    ends = {branch.end for branch in own.branches} if rule.branch_multiplier == ONE and len(own.branches) != len(base.branches) else set()
    for kind in dict.fromkeys([*own_values, *base_values]):
        theirs = [value for _, value in base_values.get(kind, [(NOTHING, 1.0)])]
        for signal, value in own_values.get(kind, [(NOTHING, 1.0)]):
            if kind and signal not in ends and not any(math.isclose(value, other, rel_tol=1e-6) for other in theirs):
                yield _undone(signal, value, theirs)


def left_factors(own: Trace, base: Trace) -> list[float]:
    """Numbers that the model multiplies signals by and the base does not, where nothing learned makes these signals; nan if unknown."""
    values = [sorted(value for value, signal in each.factors if signal == NOTHING and not math.isnan(value)) for each in (own, base)]
    unknown = [value for value, _ in own.factors if math.isnan(value)]
    if len(own.branches) == len(base.branches) and len(values[0]) == len(values[1]):
        return [a for a, b in zip(*values, strict=True) if not math.isclose(a, b, rel_tol=1e-6)] + unknown
    return [a for a in dict.fromkeys(values[0]) if not any(math.isclose(a, b, rel_tol=1e-6) for b in values[1])] + unknown


def _by_kind(factors: Sequence[tuple[float, Signal]], kinds: Mapping[str, str]) -> dict[frozenset[str], list[tuple[Signal, float]]]:
    """Signals of one kind, such as those of all layers, each with the product of its factors."""
    totals: dict[Signal, float] = {}
    found: dict[frozenset[str], list[tuple[Signal, float]]] = {}
    for value, signal in factors:
        if signal != NOTHING and not math.isnan(value):
            totals[signal] = totals.get(signal, 1.0) * value
    for signal, value in totals.items():
        kind = {pattern(signal.module or "")} if signal.tensors is None else {kinds.get(name, name) for name in signal.tensors}
        found.setdefault(frozenset(kind), []).append((signal, value))
    return found


def _undone(signal: Signal, value: float, theirs: Sequence[float]) -> _Wanted:
    """What undoes a factor that is another in the base."""
    several = sorted(set(theirs))
    where = f" what {' and '.join(sorted(signal.tensors))} make" if signal.tensors else f" the output of {signal.module}"
    what = f"the model multiplies{where if signal != NOTHING else ' a signal'} by {value:.6g}, the base by "
    what += " or ".join(f"{each:.6g}" for each in several)
    clear = len(several) == 1 and value / several[0] > 0
    refusal = f"{what}, and nothing learned can undo this: multiply by the same number at all sizes"
    carried = Carried(
        powers(own_factor="-1/2"),
        {"own_factor": _squared(value / several[0])},
        f"{what}, undone by {several[0] / value:.6g},",
    )
    return _Wanted(signal if clear else NOTHING, carried, refusal)


def _squared(ratio: float) -> Fraction:
    """The square of a ratio of two numbers, exactly if it or its root is one of small numbers, but for rounding in double or single."""
    inverse = abs(ratio) < 1
    size = 1 / abs(ratio) if inverse else abs(ratio)
    simple = (Fraction(size**2).limit_denominator(10**4), Fraction(size).limit_denominator(10**4) ** 2)
    close = (each for tolerance in (1e-12, 1e-6) for each in simple if math.isclose(each, size**2, rel_tol=tolerance))
    found = next(close, Fraction(size**2))
    return 1 / found if inverse else found
