"""Shapes of real architectures: encoders and decoders, experts, transposed layers."""

from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.analysis import Stars, stack_of
from mutransfer.pytorch._record import record_program
from mutransfer.rules import Place, Role
from tests.factors import factors
from tests.models import (
    Conv1D,
    EncoderDecoder,
    GatedMixture,
    bilinear,
    layer_of_channels,
    lazy_convolution,
)

TOKENS = torch.zeros(2, 6, dtype=torch.long)


def test_branches_of_the_encoder_count_as_those_of_the_decoder() -> None:
    model, base = EncoderDecoder(32, 6), EncoderDecoder(16, 2)
    programs = [record_program(each) for each in (base, model)]
    found = stack_of(programs[0], Stars(*(each.parameters for each in programs)))
    assert [join.matrices for join in found.joins] == [2] * 6
    assert {found.counts[f"{name}.1.out.weight"] for name in ("decoder", "cross")} == {2}
    assert found.counts["encoder.1.out.weight"] == 2
    plan = mt.plan(model, base)
    assert plan.depth == (6, 18) and plan.rule == "completep"
    for stack in ("encoder", "decoder", "cross"):
        assert (
            plan[f"{stack}.1.query.weight"].place == Place.BRANCH
            and plan[f"{stack}.1.out.weight"].place == Place.BRANCH_END
        )
        assert factors(plan, f"{stack}.1.out.weight") == pytest.approx(
            (2**-0.5 / 3, 1 / 6, 1 / 2, 6)
        )
    assert plan["memory.weight"].place == plan["norm.weight"].place == Place.OUTSIDE


@pytest.mark.parametrize(
    "inputs", [None, {"source": TOKENS, "target": TOKENS}], ids=["the model's own", "given"]
)
def test_inputs_may_be_keywords(inputs: Any) -> None:
    assert (
        mt.plan(EncoderDecoder(32, 2), EncoderDecoder(16, 2), example_inputs=inputs).rule == "mup"
    )


def test_keywords_that_the_model_does_not_take() -> None:
    with pytest.raises(
        mt.MutransferError, match=r"the forward pass of EncoderDecoder failed.*example_inputs="
    ):
        mt.plan(EncoderDecoder(32, 2), EncoderDecoder(16, 2), example_inputs={"tokens": TOKENS})


@pytest.mark.parametrize("transposed", [False, True])
def test_experts_behind_a_gate_carry_the_branches_multiplier(transposed: bool) -> None:
    plan = mt.plan(
        GatedMixture(32, 6, transposed=transposed), GatedMixture(16, 2, transposed=transposed)
    )
    assert plan.depth == (2, 6)
    assert (
        plan["routers.0.weight"].role == Role.ROUTER
        and plan["routers.0.weight"].place == Place.BRANCH
    )
    assert plan["experts.0.up"].role == plan["experts.0.down"].role == Role.EXPERT
    assert (
        plan["experts.0.up"].place == Place.BRANCH
        and plan["experts.0.down"].place == Place.BRANCH_END
    )
    assert factors(plan, "experts.0.up") == pytest.approx((2**-0.5, 1 / 2, 1 / 6, 2))
    assert factors(plan, "experts.0.down") == pytest.approx((2**-0.5 / 3, 1 / 6, 1 / 2, 6))
    assert factors(plan, "routers.0.weight") == pytest.approx((1 / 2, 1 / 2, 1 / 3, 2))


def test_more_experts_are_a_ratio_of_their_own() -> None:
    plan = mt.plan(GatedMixture(32, 2, experts=8), GatedMixture(16, 2, experts=4))
    assert plan["experts.0.up"].ratios["experts"] == plan["routers.0.weight"].ratios["experts"] == 2
    assert factors(plan, "experts.0.up") == pytest.approx((2**-0.5, 1 / 2, 1 / 4, 2))


def squared(x: torch.Tensor) -> torch.Tensor:
    """Multiply a branch by a function of itself: no tensor can carry its multiplier."""
    return x * torch.sigmoid(x)


def test_a_gate_made_of_what_it_lets_through_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError, match="does not end in learned tensors that could carry its multiplier"
    ):
        mt.plan(*(GatedMixture(*size, end=squared) for size in ((32, 6), (16, 2))))


def test_a_transposed_linear_layer() -> None:
    """Its fan-in is the first dimension; here it doubles, and the fan-out quadruples."""

    def build(width: int) -> nn.Module:
        layers = Conv1D(width**2, width), nn.ReLU(), nn.Linear(width**2, 3)
        return nn.Sequential(nn.Linear(5, width), *layers)

    plan = mt.plan(build(16), build(8))
    assert plan["1.weight"].role == Role.HIDDEN and plan["1.weight"].shape == (16, 256)
    assert factors(plan, "1.weight") == pytest.approx((2**-0.5, 1 / 2, 1 / 4, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_are_guessed_in_the_models_type(dtype: torch.dtype) -> None:
    model, base = (lazy_convolution(width).to(dtype) for width in (16, 8))
    assert mt.plan(model, base)["0.weight"].role == Role.INPUT


def convolution(kind: str, width: int, groups: int = 1) -> nn.Module:
    """Build a net with one convolution over features."""
    layers = {
        "grouped": lambda: nn.Conv2d(width, width, 3, groups=groups, padding=1),
        "transposed, depthwise": lambda: nn.ConvTranspose2d(width, width, 3, groups=width),
        "transposed, grouped": lambda: nn.ConvTranspose2d(width, width, 3, groups=groups),
    }
    return layer_of_channels(layers[kind](), width)


@pytest.mark.parametrize(
    ("kind", "groups", "role", "init", "lr"),
    [
        ("grouped", (4, 4), Role.HIDDEN, 1 / 2, 1 / 4),  # wider groups
        ("grouped", (16, 4), Role.DEPTHWISE, 1, 1),  # more groups of one size
        pytest.param(
            *("transposed, depthwise", (1, 1), Role.DEPTHWISE, 1, 1),
            marks=pytest.mark.xfail(strict=True, reason="its role is that of a vector"),
        ),
    ],
)
def test_convolutions_in_groups(
    kind: str, groups: tuple[int, int], role: Role, init: float, lr: float
) -> None:
    plan = mt.plan(convolution(kind, 32, groups[0]), convolution(kind, 8, groups[1]))
    assert plan["2.weight"].role == role
    assert (plan["2.weight"].factor("init"), plan["2.weight"].factor("lr")) == pytest.approx(
        (init, lr)
    )


def test_a_transposed_convolution_in_groups_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError, match=r"4 groups over (8|32) channels.*say its axes with axes="
    ):
        mt.plan(convolution("transposed, grouped", 32, 4), convolution("transposed, grouped", 8, 4))


def test_a_bilinear_layer_sums_over_both_its_inputs() -> None:
    tensor = mt.plan(bilinear(32), bilinear(16))["both.weight"]
    assert tensor.role == Role.HIDDEN
    assert tensor.ratios["fan_in"] == 4 and tensor.ratios["fan_out"] == 2
