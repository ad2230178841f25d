"""A plan as people read it: the table, and the explanation of one tensor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ..core import Fold, columns, html_table, preformatted
from ..reading import pattern
from ..rules import Place
from ._tensor import ForwardMultiplier, TensorPlan

_FACTORS = ("init", "lr", "eps", "decay")
_DERIVED = 40
"""Most rows of which a notebook has the derivation."""

_LEFT = ("tensor", "role", "optimizer", "base", "model")


def tensor_table(
    tensors: Mapping[str, TensorPlan], forward: Mapping[str, ForwardMultiplier]
) -> str:
    """Return a row for the tensors of a pattern that scale alike, and forward hooks."""
    names, rows = _cells(tensors)
    right = [number for number, name in enumerate(names) if name not in _LEFT]
    return "\n".join([columns([names, *rows], right), *hooks(forward)])


def html_folds(tensors: Mapping[str, TensorPlan]) -> list[Fold]:
    """Return the rows of `tensor_table` and their derivations, as parts that fold."""
    names, rows = _cells(tensors)
    groups = alike(tensors)
    derived = "".join(
        str(Fold(row[0], preformatted(_derivation(group), wrap=True)))
        for row, group in zip(rows[:_DERIVED], groups, strict=False)
    )
    more = f"<p>and {len(rows) - _DERIVED} more: plan.explain(name)</p>"
    return [
        Fold("tensors, with factors over the base", html_table(names, rows), is_open=True),
        Fold("derivation of each row", derived + more * (len(rows) > _DERIVED)),
    ]


def _cells(tensors: Mapping[str, TensorPlan]) -> tuple[list[str], list[list[str]]]:
    """Return the columns of the table, and its rows as text."""
    several = len({tensor.optimizer for tensor in tensors.values()}) > 1
    names = ["tensor", "n", "role", *(["optimizer"] if several else []), "base", "model"]
    rows = [_row(group, several) for group in alike(tensors)]
    return [*names, *_FACTORS], rows


def alike(tensors: Mapping[str, TensorPlan]) -> list[list[TensorPlan]]:
    """Return the tensors of one pattern that scale alike, together."""
    groups: dict[tuple[object, ...], list[TensorPlan]] = {}
    for tensor in tensors.values():
        factors = tuple(tensor.factor(quantity) for quantity in _FACTORS)
        shapes = tensor.shape, tensor.base_shape
        kind = tensor.role, tensor.place, tensor.optimizer
        groups.setdefault((pattern(tensor.name), *shapes, *kind, factors), []).append(tensor)
    return list(groups.values())


def _row(group: Sequence[TensorPlan], several: bool) -> list[str]:
    first = group[0]
    name = first.name if len(group) == 1 else pattern(first.name)
    role = first.role.value if first.place == Place.OUTSIDE else f"{first.role} {first.place}"
    shapes = ["x".join(map(str, shape)) or "()" for shape in (first.base_shape, first.shape)]
    factors = [octaves(first.factor(quantity)) for quantity in _FACTORS]
    return [name, str(len(group)), role, *([first.optimizer] if several else []), *shapes, *factors]


def hooks(forward: Mapping[str, ForwardMultiplier]) -> list[str]:
    """Return a line for the modules of one pattern whose outputs have the same factor."""
    counts = Counter((pattern(name), octaves(each.factor)) for name, each in forward.items())
    return [
        f"forward hook (plan.attach): output of {name} times {factor} ({count})"
        for (name, factor), count in counts.items()
    ]


def explanation(tensor: TensorPlan, *, asked: str, count: int = 1) -> str:
    """Return the derivation of one tensor's factors, with the source.

    Args:
        tensor: The tensor.
        asked: The name that the user gave, which may be another name of a shared tensor.
        count: Number of tensors that scale like it, under one pattern of names.
    """
    grown = [f"{name} x{ratio(each)}" for name, each in tensor.ratios.items() if each != 1]
    factors = [
        [f"  {name}", f"{getattr(tensor, name)}", f"= {octaves(tensor.factor(name))}"]
        for name in _FACTORS
    ]
    outside = tensor.place == Place.OUTSIDE
    place = "outside the residual branches" if outside else tensor.place.value
    name = tensor.name if count == 1 else f"{pattern(tensor.name)} ({count} tensors)"
    shared = f"{asked} is {tensor.name}: the two are tied\n" if asked in tensor.aliases else ""
    return (
        f"{shared}{name}: {tensor.role}, {place}, trained by {tensor.optimizer}\n"
        f"  shape {tensor.shape}, in the base {tensor.base_shape}: "
        f"{', '.join(grown or ['nothing grew'])}\n"
        + f"{columns(factors)}\n"
        + "".join(f"  - {reason}\n" for reason in tensor.reasons)
    )


def _derivation(group: Sequence[TensorPlan]) -> str:
    return explanation(group[0], asked=group[0].name, count=len(group))


def ratio(number: Fraction) -> str:
    """Return a ratio as a fraction, or in decimals where it is one of large numbers.

    >>> ratio(Fraction(3, 2)), ratio(Fraction("0.3333333333333333"))
    ('3/2', '0.333333')
    """
    return str(number) if number.denominator < 10**4 else f"{float(number):.6g}"


def octaves(factor: float) -> str:
    """Return a factor as a power of two, such as 2^-3, or else in decimals.

    >>> octaves(0.125), octaves(1.0), octaves(0.3)
    ('2^-3', '1', '0.3')
    """
    if factor == 1:
        return "1"
    exponent = math.log2(factor)
    halves = math.isclose(2 * exponent, round(2 * exponent), abs_tol=1e-9)
    return f"2^{exponent:g}" if halves else f"{factor:.4g}"
