"""Declared roles: experts, adapters, frozen tensors, refusals that ask for them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.rules import Role
from mutransfer.tasks import gpt, mlp
from tests.factors import factors
from tests.models import ExpertModules, Residual, adapted, mixture
from tests.plans.role_cases import (
    CASES,
    FROZEN,
    HIDDEN,
    LORA,
    MIXTURE,
    STACKS,
    WIDTH,
    planned,
)

UNREADABLE: dict[str, tuple[Callable[[], mt.Plan], str]] = {
    "router of more experts": (
        lambda: mt.plan(mixture(64, 8), mixture(16, 4), axes=STACKS),
        "blocks.0.router.weight: ",
    ),
    "unknown role": (
        lambda: mt.plan(mlp(16), mlp(8), roles={"input.*": "inputs"}),
        r"roles={'input.\*': 'inputs'}: there is no such role; "
        "choose one of input, embedding, position",
    ),
    "pattern without a match": (
        lambda: mt.plan(mlp(16), mlp(8), roles={"*.router.weight": "router"}),
        r"roles={'\*.router.weight': ...} matches no parameter of the model; "
        r"its parameters begin with \['input.weight'",
    ),
    "router's axis": (
        lambda: mt.plan(
            mixture(64), mixture(16), axes={"*_experts": ("experts", "out", "in")}, roles=MIXTURE
        ),
        r"\['experts'\] are no axes",
    ),
}


@pytest.mark.parametrize(("call", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_refused_with_the_remedy(call: Callable[[], mt.Plan], message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["router", "adapter", "bottleneck"])
def test_roles_that_are_read_have_the_factors_of_declared_ones(name: str) -> None:
    """A down projection starts as a hidden matrix; scores of experts as a readout."""
    declared, read = planned(CASES[name]), planned(replace(CASES[name], roles=None))
    for tensor in declared.tensors:
        assert factors(read, tensor) == pytest.approx(factors(declared, tensor)), tensor
    if name == "router":
        assert read["blocks.0.router.weight"].role == Role.ROUTER
        assert {read[f"blocks.0.{i}_experts"].role for i in ("up", "down")} == {Role.EXPERT}


def test_stacks_of_experts_need_no_axes_where_their_number_stays() -> None:
    plan = planned(replace(CASES["router"], roles=None, axes=None))
    for name in ("blocks.0.up_experts", "blocks.0.down_experts"):
        assert factors(plan, name) == pytest.approx(HIDDEN[1])
    assert plan["blocks.0.router.weight"].role == Role.ROUTER


def test_roles_may_be_words_or_members_and_the_first_pattern_counts() -> None:
    declared = {"hidden.0.*": Role.VECTOR, "hidden.*.bias": "gain", "*.bias": "frozen"}
    plan = mt.plan(mlp(16), mlp(8), roles=declared)
    assert {name: tensor.role.value for name, tensor in plan.tensors.items()} == {
        "input.weight": "input",
        "input.bias": "frozen",
        "hidden.0.weight": "vector",
        "hidden.0.bias": "vector",
        "hidden.1.weight": "hidden",
        "hidden.1.bias": "gain",
        "readout.weight": "readout",
        "readout.bias": "frozen",
    }


def test_a_declared_role_stands_in_table_and_explanation() -> None:
    plan = planned(CASES["router"])
    assert "router in a branch" in str(plan)
    assert "router" in plan.explain("blocks.0.router.weight").splitlines()[0]
    assert mt.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("number", [4, 8, 12, 16])
def test_the_number_of_experts_may_grow(number: int) -> None:
    """Each expert gets 1/E of the gradient, and so does each row of the router."""
    plan = mt.plan(mixture(64, number), mixture(16, 4), axes=STACKS, roles=MIXTURE)
    more = number / 4
    assert plan["blocks.0.up_experts"].role == plan["blocks.0.down_experts"].role == "expert"
    for name in ("blocks.0.up_experts", "blocks.0.down_experts"):
        assert factors(plan, name) == pytest.approx([1 / 2, 1 / 4, 1 / 4 / more, 4])
    assert factors(plan, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 1 / more, 4])


def test_only_the_number_of_experts_may_grow() -> None:
    plan = mt.plan(mixture(16, 8), mixture(16, 4), axes=STACKS, roles=MIXTURE)
    assert factors(plan, "blocks.0.up_experts") == pytest.approx([1, 1, 1 / 2, 1])
    assert factors(plan, "blocks.0.router.weight") == pytest.approx([1, 1, 1 / 2, 1])


@pytest.mark.parametrize("number", [8, 16])
def test_the_routers_outputs_may_be_declared_as_experts(number: int) -> None:
    axes = STACKS | {"*.router.weight": ("expert", "in")}
    plan = mt.plan(mixture(64, number), mixture(16, 4), axes=axes, roles=MIXTURE)
    assert factors(plan, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 4 / number, 4])


def test_an_axis_of_experts_makes_a_stack_of_experts() -> None:
    plan = mt.plan(
        mixture(64, 16), mixture(16, 4), axes=STACKS, roles={"*.router.weight": "router"}
    )
    assert plan["blocks.0.up_experts"].role == "expert"
    assert plan["blocks.0.up_experts"].factor("eps") == pytest.approx(1 / 16)


def test_experts_in_modules_of_their_own() -> None:
    model, base = (Residual(width, 1, ExpertModules) for width in (64, 16))
    roles = {"*.router.weight": "router", "*.experts.*.weight": "expert"}
    plan = mt.plan(model, base, roles=roles)
    assert factors(plan, "blocks.0.experts.1.weight") == pytest.approx(HIDDEN[1])
    assert factors(plan, "blocks.0.router.weight") == pytest.approx([1 / 4, 1 / 4, 1, 4])


def test_frozen_tensors_are_neither_drawn_afresh_nor_trained() -> None:
    torch.manual_seed(0)
    model, case = adapted(64), CASES["adapter of a frozen matrix"]
    plan = mt.plan(model, adapted(16), roles=case.roles)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plan.initialize(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    frozen = {name for name in plan.tensors if ".pretrained." in name}
    assert len(frozen) == 4 and not moved & frozen and "blocks.0.lora_A.weight" in moved
    groups = plan.param_groups(model, 0.1)
    assert {name for group in groups for name in group["names"]} == plan.tensors.keys() - frozen
    optimizer = torch.optim.AdamW(groups)
    model(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    assert all(torch.equal(model.get_parameter(name), before[name]) for name in frozen)


def test_frozen_tensors_may_start_anyhow() -> None:
    """A pretrained tensor may be zero in the base alone."""
    base = adapted(16)
    nn.init.zeros_(base.blocks[0].pretrained.weight)
    model = adapted(64)
    mt.plan(model, base, roles=FROZEN).initialize(model)


def test_frozen_vectors_do_not_trouble_an_optimizer_of_matrices() -> None:
    plan = mt.plan(mlp(16), mlp(8), optimizer="muon", roles={"*.bias": "frozen"})
    groups = plan.param_groups(mlp(16), 0.1, eps=1e-7)
    assert {name for group in groups for name in group["names"]} == {
        name for name in plan.tensors if name.endswith("weight")
    }


@pytest.mark.parametrize(
    "roles", [FROZEN, LORA | {"*.pretrained.bias": "frozen"}], ids=["matrix and bias", "bias"]
)
def test_a_frozen_tensor_cannot_carry_a_multiplier(roles: dict[str, str]) -> None:
    """It ends a branch whose multiplier it would have to carry, but it is not scaled."""
    with pytest.raises(mt.MutransferError, match="pretrained"):
        mt.plan(adapted(WIDTH, 4), adapted(WIDTH, 2), roles=roles)


def test_frozen_queries_cannot_carry_the_attention_scale() -> None:
    target, base = gpt(64, 2, heads=2), gpt(32, 2, heads=2)
    with pytest.raises(mt.MutransferError, match="query"):
        mt.plan(target, base, roles={"*.query.weight": "frozen"})


def test_a_frozen_norm_cannot_carry_the_multiplier_of_a_tied_head() -> None:
    target, base = gpt(64, 2, tied=True), gpt(32, 2, tied=True)
    with pytest.raises(mt.MutransferError, match="norm"):
        mt.plan(target, base, roles={"norm.*": "frozen"})
