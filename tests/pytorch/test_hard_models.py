"""Models that are hard to read, and planned all the same."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.models import Experts, Net, Recurrent, Residual, StagedResNet, UNet, torch_encoder
from tests.pytorch.hard_cases import (
    DEEPER,
    QUERY_CARRIES,
    ROWS,
    SEQUENCES,
    Case,
    accepted,
    at_width,
    attention,
    ends_halved,
    init_and_rate,
    library,
    never,
    residual,
)

remat = partial(checkpoint, use_reentrant=False)


def named_outputs(width: int) -> nn.Module:
    """Build a U-Net whose output is a dictionary."""
    return Net(lambda m, x: {"image": m.net(x), "size": 3}, net=UNet(width, 1))


def unet_read(plan: mt.Plan) -> bool:
    tensors = ("stem", "downs.0", "ups.0", "joins.0", "head")
    roles = [plan[f"net.{name}.weight"].role.value for name in tensors]
    return roles == ["input", "hidden", "hidden", "hidden", "readout"]


def cell_read(plan: mt.Plan) -> bool:
    states, inputs = (init_and_rate(plan, f"cell.weight_{i}_l0") for i in ("hh", "ih"))
    return states == (0.5, 0.25) and inputs == (1, 1)


def experts_read(plan: mt.Plan) -> bool:
    up, down = (init_and_rate(plan, f"blocks.0.{i}_experts") for i in ("up", "down"))
    router = init_and_rate(plan, "blocks.0.router.weight")
    return up == down == (0.5, 0.25) and router == (0.25, 0.25)


def stages_read(plan: mt.Plan) -> bool:
    """Blocks beside a projection count: 4 branches in the base, 8 in the model."""
    ends = [init_and_rate(plan, f"stages.{i}.norms.1.weight") for i in ("0.0", "1.0", "1.1")]
    return ends == [(1 / 2, 1 / 2)] * 3 and plan.depth == (4, 8)


CASES: dict[str, Case] = {
    "u-net, dictionary out": Case(make=at_width(named_outputs), correct=unet_read, refuse=False),
    "lstm": Case(make=at_width(Recurrent), inputs=SEQUENCES, correct=cell_read, refuse=False),
    "gru": Case(
        make=at_width(partial(Recurrent, kind=nn.GRU)),
        inputs=SEQUENCES,
        correct=cell_read,
        refuse=False,
    ),
    "experts": Case(
        make=lambda width, depth: Residual(width, 1, Experts),
        inputs=ROWS,
        axes={"*_experts": ("finite", "out", "in")},
        roles={"*.router.weight": "router"},
        correct=experts_read,
        refuse=False,
    ),
    "torch's encoder, heads grow": Case(
        make=torch_encoder,
        inputs=SEQUENCES,
        grow=(4, 2),
        correct=lambda plan: (
            plan.depth == (4, 8)
            and init_and_rate(plan, "1.layers.3.linear2.weight") == (0.25, 0.125)
        ),
        refuse=False,
    ),
    "torch's encoder, post-norm": Case(
        make=partial(torch_encoder, norm_first=False),
        inputs=SEQUENCES,
        grow=DEEPER,
        correct=never,
    ),
    **{
        f"blocks under checkpoint{', reentrant' * reentrant}": Case(
            make=residual(
                lambda m, block, x, how=reentrant: x + checkpoint(block, x, use_reentrant=how)
            ),
            grow=DEEPER,
            correct=ends_halved,
            refuse=False,
        )
        for reentrant in (False, True)
    },
    "whole blocks under checkpoint": Case(
        make=residual(lambda m, block, x: remat(lambda y: y + block(y), x)),
        grow=DEEPER,
        correct=ends_halved,
        refuse=False,
    ),
    "stream times a constant": Case(
        make=residual(lambda m, block, x: 0.9 * x + block(x)), grow=DEEPER, correct=ends_halved
    ),
    "interpolated join": Case(
        make=residual(lambda m, block, x: torch.lerp(x, block(x), 0.5)),
        grow=DEEPER,
        correct=ends_halved,
    ),
    **{
        f"stages with projections{', in place' * inplace}": Case(
            make=partial(StagedResNet, inplace=inplace),
            grow=(2, 2),
            correct=stages_read,
            refuse=False,
        )
        for inplace in (False, True)
    },
    "head dimension grows": Case(
        make=attention(library), inputs=SEQUENCES, correct=QUERY_CARRIES, refuse=False
    ),
    "branches taken off the stream": Case(
        make=residual(lambda m, block, x: x - block(x)), grow=DEEPER, correct=ends_halved
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_hard_model_is_planned_correctly(case: Case) -> None:
    assert accepted(case)


def test_every_tensor_of_a_run_has_the_scale_of_its_counterpart() -> None:
    """Biases start at 1/sqrt(fan_in), so that those of the first layer are larger."""
    torch.manual_seed(0)

    def build(width: int) -> Any:
        layers = (nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return nn.Sequential(*layers, nn.Linear(width, 3))

    model, base = build(1024), build(64)
    mt.plan(model, base).initialize(model)
    for layer in (0, 2):
        scales = [m[layer].bias.square().mean().sqrt().item() for m in (model, base)]
        assert scales[0] == pytest.approx(scales[1], rel=1e-3)


def test_a_model_whose_only_child_is_named_as_a_wrapper() -> None:
    model, base = (Net(lambda m, x: m.module(x), module=mlp(width)) for width in (32, 16))
    mt.plan(model, base).initialize(model)


def test_blocks_compiled_one_by_one() -> None:
    model, base = gpt(32, 2), gpt(16, 2)
    plan = mt.plan(model, base)
    names = [group["names"] for group in plan.param_groups(model, 0.1)]
    for number, block in enumerate(model.blocks):
        model.blocks[number] = torch.compile(block, backend="eager")
    assert [group["names"] for group in plan.param_groups(model, 0.1)] == names


@pytest.mark.parametrize("text", ["5", "null", '"plan"'])
def test_json_that_is_no_object_is_no_plan(text: str) -> None:
    with pytest.raises(mt.MutransferError):
        mt.Plan.from_json(text)


def test_a_tensor_of_which_nothing_grows_is_a_scalar() -> None:
    def build() -> nn.Module:
        parts = {"out": nn.Linear(5, 8), "scale": nn.Parameter(torch.ones(()))}
        return Net(lambda m, x: m.out(x) * m.scale, **parts)

    assert mt.plan(build(), build())["scale"].role == "scalar"
