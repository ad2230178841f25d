"""Kernels of convolutions under optimizers of matrices, and tensors that these cannot train."""

import ast
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mutransfer as mt
from tests import optimizers
from tests.factors import factors
from tests.models import Net

MUON = {"hidden": "muon-original", "*": "adamw"}


def convolved(width: int, *, wide: int | None = None, middle: nn.Module | None = None) -> nn.Module:
    """Build a convolution net; the hidden kernel may grow otherwise than its input."""
    wide = width if wide is None else wide
    return Net(
        lambda m, x: m.c(m.b(m.a(x).relu()).relu().mean((2, 3))),
        a=nn.Conv2d(3, width, 3),
        b=nn.Conv2d(width, wide, 3) if middle is None else middle,
        c=nn.Linear(wide, 10),
    )


def rows_over_columns(shape: tuple[int, ...]) -> float:
    return max(1.0, shape[0] / math.prod(shape[1:]))


@pytest.mark.parametrize("optimizer", ["muon", "muon-spectral", "muon-original", "shampoo", "soap"])
def test_a_square_kernel_scales_as_a_square_matrix(optimizer: str) -> None:
    plan = mt.plan(convolved(64), convolved(16), optimizer={"hidden": optimizer, "*": "adamw"})

    def dense(width: int) -> nn.Module:
        layers = {"a": nn.Linear(5, width), "b": nn.Linear(width, width)}
        return Net(lambda m, x: m.c(m.b(m.a(x)).relu()), **layers, c=nn.Linear(width, 10))

    flat = mt.plan(dense(64), dense(16), optimizer={"hidden": optimizer, "*": "adamw"})
    assert factors(plan, "b.weight") == factors(flat, "b.weight")
    assert plan["b.weight"].factor("init") == 0.5


def test_muon_keeps_the_rate_of_a_square_kernel() -> None:
    plan = mt.plan(convolved(64), convolved(16), optimizer=MUON)
    assert plan["b.weight"].optimizer == "muon-original"
    assert [plan["b.weight"].factor(each) for each in ("init", "lr", "decay")] == [0.5, 1, 1]


@pytest.mark.parametrize(("wide", "base_wide"), [(512, 16), (2048, 256), (64, 16), (512, 256)])
def test_the_scale_of_muon_is_that_of_the_flat_kernel(wide: int, base_wide: int) -> None:
    """Rate sqrt(out/in) over the factor sqrt(max(1, out/(9 in))) that the implementation has."""
    model, base = convolved(64, wide=wide), convolved(16, wide=base_wide)
    tensor = mt.plan(model, base, optimizer=MUON)["b.weight"]
    wanted = math.sqrt((wide / base_wide) / 4)
    scale = math.sqrt(rows_over_columns(tensor.shape) / rows_over_columns(tensor.base_shape))
    assert tensor.factor("lr") == pytest.approx(wanted / scale)
    plan = mt.plan(model, base, optimizer={"hidden": "muon-match-rms", "*": "adamw"})
    tensor = plan["b.weight"]
    largest = [max(shape[0], math.prod(shape[1:])) for shape in (tensor.shape, tensor.base_shape)]
    assert tensor.factor("lr") == pytest.approx(wanted / math.sqrt(largest[0] / largest[1]))
    assert mt.Plan.from_json(plan.to_json()) == plan


class OwnWeight(nn.Module):
    """A convolution with a parameter of its own, of which no layer says how it is used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width, 3, 3) / (9 * width) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight)


MIDDLES: dict[str, Callable[[int], nn.Module]] = {
    "transposed": lambda width: nn.ConvTranspose2d(width, width, 3),
    "own": OwnWeight,
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=MIDDLES)
def test_what_is_no_kernel_is_refused_with_a_way_out_that_works(
    middle: Callable[[int], nn.Module],
) -> None:
    def plan(optimizer: Any) -> mt.Plan:
        model, base = (convolved(width, middle=middle(width)) for width in (64, 16))
        return mt.plan(model, base, optimizer=optimizer, axes=axes)

    axes = {"b.weight": ("out", "in", "finite", "finite")} if middle is OwnWeight else None
    with pytest.raises(
        mt.MutransferError, match=r"updates matrices only, and b\.weight"
    ) as refusal:
        plan(MUON)
    assert "take such tensors out by name" in str(refusal.value)
    assert_way_out(str(refusal.value), plan)


def assert_way_out(message: str, plan: Callable[[Any], mt.Plan]) -> None:
    """Try the call that a refusal names."""
    (call,) = re.findall(r"optimizer=(\{.*?\})", message)
    planned = plan(ast.literal_eval(call))
    assert set(planned.optimizers) <= {"muon-original", "muon", "adamw"}
    assert all(
        len(tensor.shape) == 2 for tensor in planned.tensors.values() if tensor.optimizer != "adamw"
    )


class Experts(nn.Module):
    """Four experts in one tensor of three dimensions, all of them used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.weight = nn.Parameter(torch.randn(4, width, width) / width**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bi,eoi->bo", self.inner(x), self.weight)


def test_a_stack_of_experts_is_refused_with_a_way_out_that_works() -> None:
    def make(width: int) -> nn.Module:
        ends = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
        return Net(lambda m, x: m.readout(m.inner(m.stem(x))), **ends, inner=Experts(width))

    def plan(optimizer: Any) -> mt.Plan:
        experts = {"inner.weight": ("expert", "out", "in")}
        return mt.plan(make(64), make(16), optimizer=optimizer, axes=experts)

    with pytest.raises(
        mt.MutransferError, match=r"and inner.weight \(expert\) has 3 dimensions: take such tensors"
    ) as refusal:
        plan({"hidden": "muon", "*": "adamw"})
    assert_way_out(str(refusal.value), plan)


def test_a_convolution_is_taken_out_by_name() -> None:
    optimizer = {"b.weight": "adamw", "c.weight": "muon-original"} | MUON
    plan = mt.plan(convolved(64), convolved(16), optimizer=optimizer)
    assert plan["b.weight"].optimizer == "adamw"
    assert plan["c.weight"].optimizer == "muon-original"
    assert "flat-kernels" not in str(plan)


@optimizers.MUON
def test_a_check_with_torchs_muon_names_a_way_out_that_works() -> None:
    def checked(optimizer: Any) -> mt.Plan:
        images = torch.randn(4, 3, 8, 8)
        check = mt.coordinate_check(
            lambda width: convolved(width),
            width=[8, 16, 32],
            optimizer=optimizer,
            batch=images,
            steps=1,
            seeds=1,
        )
        assert check.rows
        return mt.plan(convolved(64), convolved(16), optimizer=optimizer)

    with pytest.raises(
        mt.MutransferError,
        match=r"torch's optimizer for muon-original takes matrices only, and b\.weight is a kernel",
    ) as refusal:
        checked(MUON)
    assert_way_out(str(refusal.value), checked)
