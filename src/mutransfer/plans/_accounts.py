"""The uses of one parameter, as what a role follows from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ..analysis import (
    FACTORS,
    TOTALS,
    WHOLE,
    Use,
    Walk,
    fate,
    is_divided_by_length,
    is_key_value,
    is_split_into_output,
)
from ..reading import Axes, Parameter, pattern
from ._match import Match
from ._sides import ORTHOGONAL, Sides


@dataclass(frozen=True, kw_only=True)
class Account:
    """Uses of a parameter in the forward pass, target over base.

    Attributes:
        kind: "matrix" (summed over a growing dimension, and another one stays), "readout" (none
            stays), "tied" (a readout that is looked up or an input, too), "lookup", "input" (summed
            over a dimension that does not grow), "vector", "finite" (nothing grows) or "unused".
        axes: The axis of each dimension.
        fan_in: Ratio of the summed dimension.
        fan_out: Ratio of the growing dimensions that stay.
        ends: What becomes of the output of a readout, as in `fate`.
        problem: Why no role follows from the uses; empty where one does.
        is_picked: True if a dimension that grew is an index of layers.
        is_mixed: True if the summed dimension holds the width beside fixed features.
        is_split: True if features and an output of a fixed size are cut from what it makes.
        is_summed: True if it is summed with anything.
        is_key_value: True if its output is summed with another signal, in place of being compared.
        is_generated: True if a matrix that the data make has its entries.
        is_kernel: True if it is the kernel of a depthwise convolution.
        is_direction: True if what it makes of a fixed size is divided by its length.
        joint: The matrices that multiply it entry by entry before it is summed.
        operands: The values that it is summed with, with the operations that sum.
    """

    kind: str
    axes: Axes
    fan_in: Fraction = Fraction(1)
    fan_out: Fraction = Fraction(1)
    ends: frozenset[str] = frozenset()
    problem: str = ""
    is_picked: bool = False
    is_mixed: bool = False
    is_split: bool = False
    is_summed: bool = False
    is_key_value: bool = False
    is_generated: bool = False
    is_kernel: bool = False
    is_direction: bool = False
    joint: frozenset[str] = frozenset()
    operands: tuple[tuple[int, int], ...] = ()


def accounts_of(sides: Sides) -> dict[str, Account]:
    """Return how each tensor of the target is used."""
    return {name: _account(sides, match) for name, match in sides.matches.items()}


def like_others(sides: Sides, accounts: Mapping[str, Account]) -> dict[str, str]:
    """Return a used tensor for each unused one like it, as of another expert.

    Experts are used where the data call for them, so that one batch may miss some.
    """
    used: dict[object, str] = {}
    for name, match in sides.matches.items():
        if accounts[name].kind != "unused":
            used.setdefault(_likeness(match), name)
    return {
        name: used[_likeness(match)]
        for name, match in sides.matches.items()
        if accounts[name].kind == "unused" and _likeness(match) in used
    }


def _likeness(match: Match) -> object:
    """Return shapes, and the name but for numbers, which tensors alike share."""
    name = re.sub(r"\d+", "*", match.parameter.name)
    return name, match.parameter.shape, match.base.shape


def _account(sides: Sides, match: Match) -> Account:
    """Return how a tensor is used, in training where it is in no other mode."""
    names, walk = sides.walked(match), sides.walk
    used = next((n for n in names if n in walk.uses), None)
    if used is None and sides.training is not None:
        walk = sides.training
        used = next((n for n in names if n in walk.uses), None)
    name = used or names[0]
    account = account_of(walk, name, match.parameter, match.grew, inverted=sides.is_inverted)
    joint = {other for use in walk.uses.get(name, ()) if use.fan for other in use.joint}
    others = (other for walked in joint for other in sides.names.get(walked, ()))
    return replace(account, joint=frozenset(others))


def account_of(
    walk: Walk, name: str, parameter: Parameter, grew: frozenset[int], *, inverted: bool
) -> Account:
    """Return how a parameter is used.

    Args:
        walk: The pass over the operations.
        name: Its name in the walked program.
        parameter: The parameter.
        grew: Its dimensions that grew.
        inverted: True if the walked program is the target, and the other one the base.
    """
    uses = _with_signals(walk.uses.get(name, []))
    if not uses:
        return Account(kind="unused", axes=("finite",) * len(parameter.shape))
    picked = frozenset(walk.picked.get(name, ()))
    axes = _axes(uses, len(parameter.shape), picked & grew, walk)
    summed = [use for use in uses if use.kind == "contraction" and use.fan]
    # Sums with constants alone count where there are no others.
    summed = [use for use in summed if not use.with_constant] or summed
    kernel = frozenset(d for d, axis in enumerate(axes) if axis == "finite")
    growing = frozenset[int]().union(*(use.growing for use in uses)) - kernel
    problem = _contradiction(parameter, summed) or _rounded(parameter, uses)
    problem = problem or _unlike_parts(walk, name, uses) or _length(walk, parameter, uses)
    problem = problem or _unexplained(parameter, grew - picked - growing - _experts(parameter))
    fans = [_fan(use) for use in summed]
    looked_up = any(use.kind == "lookup" for use in uses)
    kind = _kind(uses, summed, looked_up=looked_up)
    kept = _kept([use for use in (uses if kind == "tied" else summed or uses) if use.kept])

    def oriented(ratio: Fraction) -> Fraction:
        return 1 / ratio if inverted else ratio

    return Account(
        kind=kind,
        axes=axes,
        fan_in=oriented(fans[0]) if fans else Fraction(1),
        fan_out=oriented(kept),
        ends=_ends(walk, summed),
        problem=problem,
        is_picked=bool(picked & grew),
        is_mixed=any(map(_is_mixed, summed)),
        is_split=any(use.kept and is_split_into_output(walk, use.result) for use in summed),
        is_summed=any(use.kind == "contraction" for use in uses),
        is_key_value=_is_key_value(walk, summed),
        is_generated=any(use.is_generated for use in summed),
        is_kernel=all(_is_kernel(walk, use) for use in uses if use.kind == "contraction"),
        is_direction=any(not use.kept and is_divided_by_length(walk, use.result) for use in summed),
        operands=tuple((u.operand, u.operation) for u in summed if u.operand is not None),
    )


def _with_signals(uses: Sequence[Use]) -> Sequence[Use]:
    """Return the uses but for sums with constants over what signals meet, too.

    Those of a spectral norm, and of a fixed rotation, are such; positions that a matrix takes in
    are none.
    """
    others = [use for use in uses if use.kind == "contraction" and not use.with_constant]
    known = frozenset[int]().union(*(use.growing for use in others))
    return [
        use
        for use in uses
        if not use.with_constant or use.kind != "contraction" or use.summed & use.growing - known
    ]


def _experts(parameter: Parameter) -> set[int]:
    """Return the dimensions that count experts."""
    named = {d for d, axis in enumerate(parameter.axes or ()) if axis == "expert"}
    return named | {0} if parameter.kind == "router" else named


def _kind(uses: Sequence[Use], summed: Sequence[Use], *, looked_up: bool) -> str:
    if summed:
        if any(use.kept or use.others_grow for use in summed):
            return "matrix"
        also_input = any(use.kind == "contraction" and use.kept for use in uses)
        return "tied" if looked_up or also_input else "readout"
    if not any(use.kept for use in uses):
        return "finite"
    if looked_up:
        return "lookup"
    contracted = any(use.kind == "contraction" and use.kept for use in uses)
    return "input" if contracted else "vector"


def _fan(use: Use) -> Fraction:
    """Return the ratio of the summed dimension, or of the width in it."""
    assert use.fan is not None
    pieces = [Fraction(b, a) for a, b in use.parts if a]
    grown = max((p for p in pieces if p != 1), key=lambda p: abs(math.log(p)), default=None)
    return grown or Fraction(use.fan[1], use.fan[0])


def _kept(uses: Sequence[Use]) -> Fraction:
    if not uses:
        return Fraction(1)
    return math.prod((Fraction(b, a) for a, b in uses[0].kept), start=Fraction(1))


def _axes(uses: Sequence[Use], n: int, layers: frozenset[int], walk: Walk) -> Axes:
    """Return the axis of each dimension; those of a kernel or an index are finite."""
    contracted = [use for use in uses if use.kind == "contraction"]
    chosen = contracted or uses
    summed = frozenset[int]().union(*(use.summed for use in chosen))
    stays = frozenset[int]().union(*(use.stays for use in chosen))
    kernel = frozenset[int]()
    if contracted and all(_is_convolution(walk, use) for use in contracted):
        kernel = frozenset(d for d in range(n) if d >= 2)

    def axis(d: int) -> str:
        if d in layers:
            return "layer"
        if d in kernel or (d not in summed and d not in stays):
            return "finite"
        if d in summed:
            return "flat" if d in stays else "in"
        return "out"

    return tuple(axis(d) for d in range(n))


def _is_convolution(walk: Walk, use: Use) -> bool:
    return "convolution" in walk.program.operations[use.operation].name


def _is_kernel(walk: Walk, use: Use) -> bool:
    """Return True for a convolution whose kernel alone is summed, a channel at a time."""
    operation = walk.program.operations[use.operation]
    return (
        _is_convolution(walk, use)
        and walk.growth.number(use.operation, 8) != 1.0
        and (len(operation.arguments) > 8)
    )


def _ends(walk: Walk, summed: Sequence[Use]) -> frozenset[str]:
    results = {use.result for use in summed if not use.kept}
    return frozenset[str]().union(*(fate(walk, result) for result in results))


def _contradiction(parameter: Parameter, summed: Sequence[Use]) -> str:
    """Return why no role follows from the sums over a tensor; empty where one does."""
    ratios, glob = {_fan(use) for use in summed}, pattern(parameter.name)
    if any(use.is_generated for use in summed):
        # Where it is summed twice, no role is right.
        twice = not all(use.is_generated for use in summed)
        declared = "" if twice else f', or say what it is with roles={{"{glob}": "hidden"}}'
        return (
            f"{parameter.name} makes a matrix of the data, which is then multiplied with a signal, "
            "and no rule is known for such a product: apply matrices first and mix their results"
            f"{declared}"
        )
    if len(ratios) > 1:
        return (
            f"{parameter.name} is summed over dimensions that grow "
            f"{' and '.join(map(str, sorted(ratios)))} times in two uses, so that no one factor is "
            "right: give each use a tensor of its own, or say what it is with "
            f'roles={{"{glob}": "hidden"}}'
        )
    # A readout of one sign is right: its factor is that of a sum of entries that add up.
    hidden = [
        use for use in summed if (use.kept or use.others_grow) and not _is_length(use, summed)
    ]
    if function := next((use.positive for use in hidden if use.positive), ""):
        return (
            f"{parameter.name} passes {function} before it is summed with a signal: its entries "
            "then have one sign and add up, for which no role is known. Learn signed weights, or "
            "draw it yourself for each width, and say what it is with "
            f'roles={{"{glob}": "vector"}}'
        )
    return ""


def _is_mixed(use: Use) -> bool:
    """Return True where the pieces of the summed dimension grow by unlike ratios."""
    return len({b * a2 == a * b2 for a, b in use.parts for a2, b2 in use.parts}) > 1


def _is_length(use: Use, summed: Sequence[Use]) -> bool:
    """Return True for the squares of a matrix that is summed itself, too.

    With squares of signals they are the lengths of a modulated weight: n terms of 1/n.
    """
    others = (each for each in summed if not each.positive and each.kept)
    return use.is_square and any(_fan(each) == _fan(use) for each in others)


def _rounded(parameter: Parameter, uses: Sequence[Use]) -> str:
    """Return why a tensor that is rounded has no role; empty where it has one."""
    weights = [use for use in uses if use.kind == "contraction"]
    if any(use.stepped == WHOLE for use in weights):
        return (
            f"{parameter.name} holds whole numbers that the forward pass reads off it, as of an "
            "orthogonal map by reflections, and its initial values cannot be rescaled: "
            f"{ORTHOGONAL}"
        )
    stepped = next((use.stepped for use in weights if use.fan and use.stepped), "")
    if stepped:
        glob = pattern(parameter.name)
        return (
            f"{parameter.name} passes {stepped} before it is summed with a signal, in steps that "
            "do not shrink as its entries do with width: take steps in proportion to it, as to its "
            "mean absolute value, or draw it yourself for each width, and say what it is with "
            f'roles={{"{glob}": "vector"}}'
        )
    return ""


def _unlike_parts(walk: Walk, name: str, uses: Sequence[Use]) -> str:
    """Return why parts of a tensor that are used apart have no role; empty otherwise."""
    counted = [
        use
        for use in uses
        if use.kind != "lookup" and not use.with_constant and (use.fan or use.kept)
        # A product entry by entry may be summed later, and then counts there.
        if use.kind != "vector" or walk.program.operations[use.operation].name not in FACTORS
        # Parts of a fixed size, as the keys of one head, are hidden but for those of the output.
        if not (use.fan and not use.kept and "output" not in fate(walk, use.result))
    ]
    summed = {bool(use.fan) for use in counted}
    kept = {bool(use.kept or use.others_grow) for use in counted}
    # Rows that are cut off a table are looked up.
    if any(use.kind == "lookup" for use in uses):
        return ""
    if max(len(summed), len(kept)) < 2 or not walk.signals.is_cut(name):
        return ""
    return (
        f"parts of {name} are used in different ways: summed over the width or over the data, or "
        "not at all, or made an output. They need different factors: make each part a tensor of "
        "its own"
    )


def _length(walk: Walk, parameter: Parameter, uses: Sequence[Use]) -> str:
    """Return why a readout has no role beside its own length; empty where it has one."""
    operations = walk.program.operations
    sums = [use for use in uses if use.is_reduced and operations[use.operation].name in TOTALS]
    readout = any(use.fan and not use.kept and not use.others_grow for use in uses)
    if not (sums and readout):
        return ""
    name = parameter.name
    return (
        f"{name} is summed with a signal over the width, and a sum of its own entries, such as the "
        "square of its length, is added to the result: the two need different factors; write the "
        f"distance out, as -((x[:, None] - {name}) ** 2).mean(-1), or leave the length out"
    )


def _unexplained(parameter: Parameter, dimensions: frozenset[int]) -> str:
    """Return which dimension grew for no reason; empty where there is none."""
    if dimensions:
        return (
            f"{parameter.name}: dimension {min(dimensions)} of {parameter.shape} differs from the "
            "base's, and no width of the signals that it works on does, as for a number of "
            "positions, rows or experts; build both with the same size"
        )
    return ""


def _is_key_value(walk: Walk, summed: Sequence[Use]) -> bool:
    """Return True where an output is the key or value of an attention."""
    return any(is_key_value(walk, use.result) for use in summed)
