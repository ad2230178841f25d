"""Models that are hard to read, each with what a correct plan of it gives."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from tests import factors
from tests.models import Residual, TwoMatrices, plus, two_heads

BASE, WIDER, DEEPER = 16, (4, 1), (1, 2)
ROWS, SEQUENCES = torch.zeros(2, 5), torch.zeros(2, 6, 5)
WORDS = torch.zeros(2, 6, dtype=torch.long)

Make = Callable[[int, int], nn.Module]
Check = Callable[[mt.Plan], bool]

relu_block = partial(TwoMatrices, activation=torch.relu)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family of models, how it grows, and what a correct plan gives.

    Attributes:
        make: The model at a width and with a number of blocks.
        correct: Whether a plan is correct.
        grow: Ratios of width and depth to the base.
        inputs: Example inputs.
        axes: Declared axes.
        roles: Declared roles.
        refuse: Whether a refusal is correct too.
    """

    make: Make
    correct: Check
    grow: tuple[int, int] = WIDER
    inputs: Any = None
    axes: dict[str, tuple[str, ...]] | None = None
    roles: dict[str, str] | None = None
    refuse: bool = True


def accepted(case: Case) -> bool:
    """Return whether the family is planned correctly, or correctly refused."""
    wider, deeper = case.grow
    model, base = case.make(BASE * wider, 2 * deeper), case.make(BASE, 2)
    options = {"example_inputs": case.inputs, "axes": case.axes, "roles": case.roles}
    try:
        plan = mt.plan(model, base, **options)
    except mt.MutransferError as refusal:
        assert case.refuse, f"refused: {refusal}"
        return True
    return case.correct(plan)


def init_and_rate(plan: mt.Plan, name: str) -> tuple[float, ...]:
    return factors.factors(plan, name, ("init", "lr"))


def never(_: mt.Plan) -> bool:
    """No plan is correct: the family has to be refused."""
    return False


def at_width(make: Callable[[int], nn.Module]) -> Make:
    """A family without depth."""
    return lambda width, depth: make(width)


def attention(mix: Callable[[Any, Tensor, Tensor, Tensor], Tensor], times: int = 1) -> Make:
    return lambda width, depth: two_heads(width, mix, times)


def library(model: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Torch's attention."""
    return F.scaled_dot_product_attention(q, k, v)


def residual(
    join: Callable[[Any, nn.Module, Tensor], Tensor] = plus, block: Any = relu_block
) -> Make:
    return lambda width, depth: Residual(width, depth, block, join=join)


def carry_missing_scale(*names: str) -> Check:
    """The product of these tensors' init factors has the missing head_dim^-1/2.

    That is beyond the 1/sqrt(n) of a hidden matrix.
    """

    def check(plan: mt.Plan) -> bool:
        widths = (0.5 if plan[name].role == "hidden" else 1.0 for name in names)
        carried = (plan[n].factor("init") / width for n, width in zip(names, widths, strict=True))
        return math.prod(carried) == pytest.approx(0.5)

    return check


QUERY_CARRIES = carry_missing_scale("query.weight")


def ends_halved(plan: mt.Plan) -> bool:
    """Two blocks became four: every block ends in a tensor that carries 1/2."""
    ends = [init_and_rate(plan, f"blocks.{i}.down.weight") for i in range(4)]
    return plan.depth[1] == 2 * plan.depth[0] and ends == [(0.5, 0.5)] * 4


def tied_carried(name: str, *norms: str) -> Check:
    """Tensor Programs V, Table 8: the norms before the head scale, the embedding not."""

    def check(plan: mt.Plan) -> bool:
        carried = [init_and_rate(plan, f"{norm}.weight") for norm in norms]
        return init_and_rate(plan, name) == (1, 1) and carried == [(0.25, 0.25)] * len(norms)

    return check
