"""The learned tensors that carry the multipliers of a model's signals.

The forward pass then needs none. Where no learned tensor can carry a multiplier, the output of a
module is multiplied instead, by a forward hook.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from ..core import MutransferError
from ..reading import NOTHING, Signal
from ..rules import ONE, Parametrization, Place, Powers, Reason, powers
from ._places import BareEnd
from ._structure import Structure
from ._wants import Want


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
        places: The place of each tensor of a residual branch, with its stack's ratio.
    """

    tensors: Mapping[str, list[Carried]]
    modules: Mapping[str, list[Carried]]
    places: Mapping[str, tuple[Place, Fraction]]

    def of_kind(self, kind: str) -> list[Carried]:
        """Return the multipliers of one kind, those of tensors first."""
        lists = [*self.tensors.values(), *self.modules.values()]
        return [carried for each in lists for carried in each if carried.kind == kind]


class _Wanted(NamedTuple):
    """A signal that wants a multiplier, and the refusal where nothing can carry it."""

    signal: Signal
    modules: tuple[str, ...]
    carried: Carried
    refusal: str


def multipliers(
    rule: Parametrization, names: Iterable[str], structure: Structure, *, hooks: bool
) -> Multipliers:
    """Give every multiplier that the rule wants to the tensors that can carry it.

    Args:
        rule: The parametrization.
        names: The model's tensors.
        structure: What the two forward passes show.
        hooks: True if the output of a module may be multiplied where no tensor can carry it.

    Raises:
        MutransferError: nothing can carry a multiplier.
    """
    tensors: dict[str, list[Carried]] = {name: [] for name in names}
    modules: dict[str, list[Carried]] = {}
    _check_depth(rule, structure)
    for want in structure.wants:
        for each in _wanted(rule, want, deeper=structure.ratio != 1):
            if each.signal.tensors is None:
                _hook(modules, each, hooks)
            for name in each.signal.tensors or ():
                tensors[name].append(each.carried)
    if rule.branch_multiplier != ONE:
        for end in structure.bare_ends:
            if end.depth != 1:
                _hook(modules, _bare_end(rule, end, structure), hooks)
    return Multipliers(
        tensors={name: _merged(carried) for name, carried in tensors.items()},
        modules={name: _merged(carried) for name, carried in modules.items()},
        places=structure.places,
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
    """Give a multiplier to the modules that put the signal out."""
    if not wanted.modules or not hooks:
        offer = (
            f"; or let {wanted.modules[0]} have a forward hook that multiplies its output, with "
            "hooks=True"
            if wanted.modules
            else ""
        )
        raise MutransferError(wanted.refusal + offer)
    for module in wanted.modules:
        modules.setdefault(module, []).append(wanted.carried)


def _check_depth(rule: Parametrization, structure: Structure) -> None:
    """Raise where the depth of the model cannot be scaled by multipliers of branches."""
    if rule.branch_multiplier == ONE or structure.ratio == 1:
        return
    keep = 'keep the depth, or scale width alone with rule="mup"'
    if structure.is_post_norm:
        raise MutransferError(
            "a normalisation follows the residual joins (post-norm), and no rule is known for its "
            f"depth (2203.03466, Table 1); {keep}"
        )
    if structure.is_decayed:
        raise MutransferError(
            "the stream is multiplied by a number between its residual joins, so that early "
            f"branches fade as depth grows, and no rule is known for it; {keep}"
        )


def _bare_end(rule: Parametrization, end: BareEnd, structure: Structure) -> _Wanted:
    """Return the output of a residual branch that does not end in learned tensors."""
    multiplier = rule.branch_multiplier
    carried = Carried(
        kind="branch",
        multiplier=multiplier,
        ratios={"depth": end.depth},
        text="ends a residual branch, with its multiplier",
    )
    branch = f"residual branch {end.number} of {structure.depth[1]} (with {min(end.tensors)})"
    refusal = (
        f"{branch} ends in {' and '.join(end.makers[:2])}, whose other parts or uses must not have "
        f"its multiplier {multiplier}: make each part a tensor of its own, or end the branch with "
        "another one"
        if end.makers
        else f"{branch} does not end in learned tensors that could carry its multiplier "
        f"{multiplier}: end it with a linear layer or an affine norm"
    )
    return _Wanted(NOTHING, end.modules, carried, refusal)


def _wanted(rule: Parametrization, want: Want, *, deeper: bool) -> Iterator[_Wanted]:
    """Yield the multiplier of one signal under this rule, if it needs one."""
    match want.kind:
        case "tied-head":
            yield _head_input(rule, want)
        case "product":
            yield from _product(rule, want)
        case "tied-factor":
            yield _tied_factor(want)
        case _:
            # A rule that says nothing of depth leaves factors on branches as they are.
            if not (want.ends_branch and deeper and rule.branch_multiplier == ONE):
                yield _undone(want)


def _head_input(rule: Parametrization, want: Want) -> _Wanted:
    """Return the input of a tied head."""
    # What makes the input of the head and is the head carries it twice.
    is_twice = want.tensor in (want.signal.tensors or ())
    multiplier = rule.logit_multiplier.substitute(fan_in="head_fan_in")
    carried = Carried(
        kind="tied-head",
        multiplier=multiplier ** Fraction(1, 2) if is_twice else multiplier,
        ratios={"head_fan_in": want.fan},
        text=f"feeds the tied head {want.tensor} and carries "
        f"{'the root of ' if is_twice else ''}the logits' multiplier",
    )
    refusal = (
        f"{want.tensor} is also the head, and its input, which {' and '.join(want.makers[:2])} "
        "make, is used elsewhere, too, where the logits' multiplier 1/fan_in would be wrong: give "
        "the head a norm with a gain of its own, or untie it"
        if want.makers
        else f"{want.tensor} is also the head, and its input is not made by learned tensors that "
        "could carry the logits' multiplier 1/fan_in: put a norm with a gain before the head, or "
        "untie it"
    )
    return _Wanted(want.signal, want.modules, carried, refusal)


def _tied_factor(want: Want) -> _Wanted:
    """Return the input of a tied head whose embedding carries a factor."""
    carried = Carried(
        kind="tied-head",
        multiplier=powers(embedding_factor="-1/2"),
        ratios={"embedding_factor": squared(want.ratio)},
        text=f"feeds the tied head {want.tensor}, whose factor as an embedding is undone here",
    )
    refusal = (
        f"{want.tensor} carries a factor of its look-ups and is also the head, whose input is not "
        "made by learned tensors that could undo it: put a norm with a gain before the head, or "
        "untie it"
    )
    return _Wanted(want.signal, want.modules, carried, refusal)


def _product(rule: Parametrization, want: Want) -> Iterator[_Wanted]:
    """Yield the multiplier of two signals that are summed over a growing dimension."""
    base_size, size = want.sizes
    missing = _missing_scale(rule, want)
    if missing == ONE:
        return
    carried = Carried(
        kind="attention",
        multiplier=missing,
        ratios={"head_dim": want.fan},
        text="makes the queries and carries what the attention logits lack to 1/head_dim",
    )
    where = f" in {want.text}" if want.text else ""
    product = (
        f"two signals are multiplied and summed over a dimension that grows from {base_size} to "
        f"{size}{where}"
    )
    lacks = (
        "as by the head dimension of an attention, and no learned tensor can carry the factor "
        f"{missing} that its logits lack: grow the number of heads instead, or give "
        "scale=1/head_dim to scaled_dot_product_attention"
        if want.is_compared
        else f"and no learned tensor can carry the factor {missing.substitute(head_dim='width')} "
        "that the sum lacks to a mean: divide it by the number of its terms"
    )
    yield _Wanted(want.signal, want.modules, carried, f"{product}, {lacks}")


def _missing_scale(rule: Parametrization, want: Want) -> Powers:
    """Return the power of the summed dimension that the model's own scale lacks."""
    change, ratios = want.ratio / float(want.fan), {"head_dim": want.fan}
    for exponent in ("0", "-1/2", "-1"):
        power = powers(head_dim=exponent)
        if abs(change - power.evaluate(ratios)) < 1e-6:
            return rule.attention_scale / power
    raise MutransferError(
        f"the scale of a product of two signals changes by {change:g} while the summed dimension "
        f"grows {want.fan} times (as the head dimension of an attention does): neither constant, "
        "1/sqrt(head_dim) nor 1/head_dim"
    )


def _undone(want: Want) -> _Wanted:
    """Return the multiplier that undoes a factor of the model's own."""
    fact = _fact(want)
    carried = Carried(
        kind="own-factor",
        multiplier=powers(own_factor="-1/2"),
        ratios={"own_factor": squared(want.ratio)},
        text=f"{fact}, undone by {1 / want.ratio:.6g},",
        fact=fact,
    )
    remedy = "multiply by the same number at all sizes"
    if _is_fixed(want):
        remedy = "multiply it by a learned gain, or let a norm follow without a bias between"
    elif want.kind == "terms":
        remedy = "take the mean of the terms, as torch.stack(terms).mean(0)"
    elif want.is_length:
        remedy = "divide it by the root of the width"
    elif want.kind == "sum":
        remedy = "divide the sum by the number of its terms, as a mean does"
    refusal = f"{fact}, and nothing learned can undo this: {remedy}"
    return _Wanted(want.signal, want.modules, carried, refusal)


def _is_fixed(want: Want) -> bool:
    """Return True where a weight has a size of its own that no tensor carries."""
    return want.is_normalised and not want.signal.tensors


def _fact(want: Want) -> str:
    """Return a factor of the model's own in a sentence."""
    tensors, module = want.signal.tensors, want.signal.module
    if tensors:
        where = f"what {' and '.join(sorted(tensors)[:2])} make"
    elif module:
        where = f"the output of {module}"
    else:
        where = f"a signal of {want.text}" if want.text else "a signal"
    if _is_fixed(want):
        return (
            f"{where} is {want.ratio:.6g} times the base's size, for the weight that makes it has "
            "a size of its own, as a sign, an orthogonal map or a weight over its norm has"
        )
    if want.is_length:
        return f"the length of {where} is {want.ratio:.6g} times the base's, as it has more entries"
    if want.kind == "sum":
        return f"the model sums {where} over a dimension that grows, {want.ratio:.6g} times as long"
    if want.kind == "terms":
        return (
            f"the model adds up {where} in a number of terms that grows, to {want.ratio:.6g} times "
            "the base's size"
        )
    if want.numbers is not None:
        base, target = want.numbers
        return f"the model multiplies {where} by {target:.6g}, the base by {base:.6g}"
    return f"the model multiplies {where} by {want.ratio:.6g} times the base's number"


def squared(ratio: float) -> Fraction:
    """Return the square of a ratio, exactly if it or its root is one of small numbers.

    Models round such numbers in double or in single precision.
    """
    inverse = abs(ratio) < 1
    size = 1 / abs(ratio) if inverse else abs(ratio)
    simple = (
        Fraction(size**2).limit_denominator(10**4),
        Fraction(size).limit_denominator(10**4) ** 2,
    )
    close = (
        fraction
        for tolerance in (1e-12, 1e-6)
        for fraction in simple
        if math.isclose(fraction, size**2, rel_tol=tolerance)
    )
    square = next(close, Fraction(size**2))
    return 1 / square if inverse else square
