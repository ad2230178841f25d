"""A plan as people read it: the table, and the explanation of one tensor."""

from __future__ import annotations

import io
import math
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..rules import Place
from ._read import pattern

if TYPE_CHECKING:
    from ._plan import Plan, TensorPlan

_QUANTITIES = ("init", "lr", "eps", "decay")


def table(plan: Plan) -> str:
    """One row for the tensors of one pattern that scale alike: role, growth, and the four factors."""
    rows: dict[tuple[object, ...], list[TensorPlan]] = {}
    for tensor in plan.tensors.values():
        factors = tuple(tensor.factor(q) for q in _QUANTITIES)
        rows.setdefault(
            (pattern(tensor.name), tensor.role, tensor.shape, tensor.base_shape, tensor.place, tensor.optimizer, factors), []
        ).append(tensor)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    columns = {"tensor": "left", "n": "right", "role": "left", "optimizer": "left", "base": "left", "model": "left"}
    for column, justify in columns.items():
        if column == "optimizer" and len(plan.optimizers) == 1:
            continue
        grid.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for q in _QUANTITIES:
        grid.add_column(q, justify="right", no_wrap=True)
    for tensors in rows.values():
        first = tensors[0]
        name = first.name if len(tensors) == 1 else pattern(first.name)
        role = first.role.value if first.place == Place.OUTSIDE else f"{first.role} {first.place}"
        trained = f"{first.optimizer}" if len(plan.optimizers) > 1 else ""
        shapes = ["x".join(map(str, shape)) or "()" for shape in (first.base_shape, first.shape)]
        grid.add_row(
            name, str(len(tensors)), role, *([trained] if trained else []), *shapes, *(octaves(first.factor(q)) for q in _QUANTITIES)
        )
    base, own = plan.depth
    branches = f"residual branches: {base} in the base, {own} in the model" if plan.rescales else "residual branches: not read"
    head = f"{plan.rule}: {plan.title} ({plan.why})\n{plan.optimizer}; {branches}; factors over the base\n\n"
    return "\n".join([head + _render(grid).removesuffix("\n"), *_forward(plan), *map(str, plan.warnings)])


def _forward(plan: Plan) -> list[str]:
    """A line for the modules of one pattern whose outputs are multiplied alike."""
    counts = Counter((pattern(name), octaves(each.factor)) for name, each in plan.forward.items())
    return [f"forward hook (plan.attach): output of {name} times {factor} ({n})" for (name, factor), n in counts.items()]


def explanation(plan: Plan, tensor: TensorPlan) -> str:
    """The derivation of one tensor's factors, with the source."""
    grown = [f"{name} x{r}" for name, r in tensor.ratios.items() if r != 1] or ["nothing grew"]
    grid = Table(box=None, pad_edge=False, show_header=False)
    for q in _QUANTITIES:
        power = getattr(tensor, q)
        grid.add_row(f"  {q}", f"{power}", f"= {octaves(tensor.factor(q))}")
    place = "outside the residual branches" if tensor.place == Place.OUTSIDE else tensor.place.value
    return (
        f"{tensor.name}: {tensor.role}, {place}, trained by {tensor.optimizer}\n"
        f"  shape {tensor.shape}, in the base {tensor.base_shape}: {', '.join(grown)}\n"
        + _render(grid)
        + "".join(f"  - {reason}\n" for reason in tensor.reasons)
    )


def octaves(factor: float) -> str:
    """A factor as a power of two where it is one, such as 2^-3; else in decimals.

    >>> octaves(0.125), octaves(1.0), octaves(0.3)
    ('2^-3', '1', '0.3')
    """
    if factor == 1:
        return "1"
    exponent = math.log2(factor)
    return f"2^{exponent:g}" if math.isclose(2 * exponent, round(2 * exponent), abs_tol=1e-9) else f"{factor:.4g}"


def _render(grid: Table) -> str:
    text = io.StringIO()
    Console(file=text, width=200, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
