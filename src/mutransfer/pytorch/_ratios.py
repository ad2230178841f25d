"""The ratios of rates, eps and decays that a schedule must keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..plans import Row
from ..rules import Family
from ._tensors import smallest_eps

Cell = tuple[list[str], float, float]
"""Names of tensors, their factor over base size, and the value that they have."""

SPREAD = 1e-6
"""Relative rounding of ratios over a schedule in double precision."""

_NOTHING = 1e-30
_WORDS = {"lr": "learning rates", "weight_decay": "weight decays", "eps": "eps", "rho": "rho"}
_BASES = {
    "lr": "base rate",
    "weight_decay": "base weight decay",
    "eps": "base eps",
    "rho": "base rho",
}
_RATE_REMEDY = (
    "a schedule or a loop that adds or sets one value for all loses them: give schedulers one "
    "value for each group, as OneCycleLR(max_lr=plan.per_group(optimizer, 0.1)), set "
    "CosineAnnealingLR's eta_min (or take LambdaLR) and ReduceLROnPlateau's eps to 0, and write "
    'group["lr"] = rate * group["lr_factor"]'
)

_SQUARED = "the first, which this class adds to the squared gradient, "
"""The first eps of transformers' Adafactor; torch's squares it."""

_SQUARED_REMEDY = (
    "give the groups a first eps of 1e-30, which is nothing beside a gradient, set it to the "
    "planned value in each group, or take torch.optim.Adafactor"
)


def ratio_findings(
    dtypes: Mapping[str, torch.dtype],
    planned: Mapping[str, tuple[Family, Row]],
    groups: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    again: str,
) -> Iterator[str]:
    """Yield what is not in the planned ratios, family by family.

    Args:
        dtypes: The type of each tensor.
        planned: The family and the factors of each tensor.
        groups: The values of each parameter group, and the names in it.
        again: How to make the groups anew.
    """
    spreads: dict[str, float] = {}
    for values, names in groups:
        for family in {planned[name][0].name for name in names}:
            spreads[family] = max(spreads.get(family, SPREAD), precision(values.get("lr")))
    for (hyperparameter, optimizer, *detail), found in cells_of(dtypes, planned, groups).items():
        spread = spreads[optimizer] if hyperparameter == "lr" else SPREAD
        base = base_value(found)
        if off := list(_off(found, base, spread)):
            which = f" ({''.join(detail)})" if detail else ""
            remedy = (
                _SQUARED_REMEDY
                if _SQUARED in detail
                else f"{again}({hyperparameter}=...), and change it for all groups by one factor"
            )
            yield (
                f"{optimizer}'s {_WORDS[hyperparameter]}{which} do not stand in the planned ratios "
                f"to a {_BASES[hyperparameter]} of {shown(base)}: {', '.join(off)}; "
                f"{_RATE_REMEDY if hyperparameter == 'lr' else remedy}"
            )


def cells_of(
    dtypes: Mapping[str, torch.dtype],
    planned: Mapping[str, tuple[Family, Row]],
    groups: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
) -> dict[tuple[str, ...], list[Cell]]:
    """Return the values of all groups by hyperparameter and family."""
    cells: dict[tuple[str, ...], list[Cell]] = {}
    for values, names in groups:
        for key, cell in _cells(values, names, planned, dtypes):
            cells.setdefault(key, []).append(cell)
    return cells


def _cells(
    values: Mapping[str, Any],
    names: Sequence[str],
    planned: Mapping[str, tuple[Family, Row]],
    dtypes: Mapping[str, torch.dtype],
) -> Iterator[tuple[tuple[str, ...], Cell]]:
    """Yield the values of one group, with their tensors and planned factors."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for name in names:
        family, row = planned[name]
        scales = row.lr_factor, row.eps, row.weight_decay, row.init
        alike.setdefault((family.name, *scales, dtypes[name]), []).append(name)
    for tensors in alike.values():
        family, row = planned[tensors[0]]
        factors = {"lr": values.get("lr_factor", row.lr_factor), "weight_decay": row.weight_decay}
        factors |= {"rho": row.rho} if row.rho is not None else {}
        for key, factor in factors.items():
            value = values.get(key)
            # Weight decay and rho of zero are meant: they are off.
            if value is not None and (key == "lr" or as_number(value)):
                yield (key, family.name), (tensors, factor, as_number(value))
        eps = values.get("eps")
        if isinstance(eps, tuple) and isinstance(row.eps, float):
            dtype = dtypes[tensors[0]]
            first = smallest_eps(dtype) if eps[0] is None else eps[0]
            which, degree = ("the first, ", 1) if "scale_parameter" not in values else (_SQUARED, 2)
            factor = row.eps ** (degree / family.eps_degree)
            yield ("eps", family.name, which, str(dtype)), (tensors, factor, first)
            if family.floored:
                yield ("eps", family.name, "the second"), (tensors, row.init, eps[1])
        elif eps is not None and isinstance(row.eps, float):
            yield ("eps", family.name), (tensors, row.eps, as_number(eps))


def base_value(cells: Sequence[Cell]) -> float:
    """Return the hyperparameter at base size that the groups stand for.

    It is the number of all groups, where a loop set one; else the value that groups of several
    factors agree on; else that of tensors whose factor is 1, or nearest to it.
    """
    live = [(factor, value) for _, factor, value in cells if factor and value]
    if not live:
        return 0.0
    if len({factor for factor, _ in live}) > 1 and len({f"{value:.6g}" for _, value in live}) == 1:
        return live[0][1]
    backers: dict[str, set[float]] = {}
    for factor, value in live:
        backers.setdefault(f"{value / factor:.6g}", set()).add(factor)
    most = max(map(len, backers.values()))
    agreed = [base for base, factors in backers.items() if len(factors) == most]
    if len(agreed) == 1:
        live = [(factor, value) for factor, value in live if f"{value / factor:.6g}" in agreed]
    factor, value = min(live, key=lambda pair: abs(math.log(abs(pair[0]))))
    return value / factor


def _off(cells: Sequence[Cell], base: float, spread: float) -> Iterator[str]:
    """Yield the tensors whose value is not their factor times that at base size."""
    wrong: dict[tuple[float, float], list[str]] = {}
    for names, factor, value in cells:
        if not is_near(value, factor * base, spread):
            wrong.setdefault((factor, value), []).extend(names)
    for (factor, value), names in wrong.items():
        yield f"{few(names)} planned {shown(factor * base)} found {shown(value)}"


def shown(value: float) -> str:
    """Return a number as text, powers of two as such."""
    mantissa, exponent = math.frexp(value)
    small = -3 <= exponent - 1 <= 3
    return f"2^{exponent - 1}" if mantissa == 0.5 and not small else f"{value:.6g}"


def is_near(value: float, planned: float, spread: float) -> bool:
    """Return True where a value is the planned one, to rounding."""
    return abs(value - planned) <= spread * abs(planned) + _NOTHING


def as_number(value: Any) -> float:
    """Return a number or a scalar tensor as a number."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def precision(lr: Any) -> float:
    """Return how far ratios of rates may drift by rounding over a long schedule."""
    if isinstance(lr, Tensor) and lr.is_floating_point():
        return min(0.05, 1e4 * torch.finfo(lr.dtype).eps)
    return SPREAD


def few(names: Iterable[str]) -> str:
    """Return the first names, each once, and the number of the others."""
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(unique[:3]) + more
