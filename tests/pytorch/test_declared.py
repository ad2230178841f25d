"""Declared branches, for models whose forward pass cannot run on the CPU."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import mlp
from tests.factors import ALL_QUANTITIES, factors, warning_ids
from tests.models import Net, Residual, Staged, TwoMatrices, identity, inside, looking_gpt

Look = Callable[[Tensor], Tensor]
Branches = Mapping[str, Sequence[str]]

# The digits are part of a name, and not the number of a layer.
block = partial(TwoMatrices, inner=4, joined=True, names=("up1", "up2"))


def elsewhere(x: Tensor) -> Tensor:
    """Stand for what runs on one kind of device alone."""
    raise RuntimeError("this needs another device")


def by_sign(x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x * 3


def by_item(x: Tensor) -> Tensor:
    return x[: max(1, int(x.abs().max().item()))]


def residual(look: Look, width: int, depth: int) -> nn.Module:
    """Build blocks on a stream, and data that a function looks at first."""
    return Residual(width, depth, block, look=look, join=inside)


def staged(look: Look, width: int, depth: int) -> nn.Module:
    return Staged(width, depth, block, look)


BRANCHES = {"blocks.*.up2": ("blocks.*.norm.*", "blocks.*.up1.*")}
ATTENTION = (
    "gpt.blocks.*.attention_norm.*",
    "gpt.blocks.*.query.*",
    "gpt.blocks.*.key.*",
    "gpt.blocks.*.value.*",
)
LANGUAGE = {
    "gpt.blocks.*.out": ATTENTION,
    "gpt.blocks.*.down": ("gpt.blocks.*.mlp_norm.*", "gpt.blocks.*.up.*"),
}
STAGED = {"stages.*.blocks.*.up2": ("stages.*.blocks.*.norm.*", "stages.*.blocks.*.up1.*")}

FAMILIES: dict[str, tuple[Callable[..., nn.Module], Look, Branches]] = {
    "perceptrons": (residual, elsewhere, BRANCHES),
    "attention and mlp": (looking_gpt, elsewhere, LANGUAGE),
    "two levels of numbers": (staged, elsewhere, STAGED),
    "whole blocks": (residual, elsewhere, {"blocks.*.up2": ("blocks.*.*",)}),
    "a sum of the data": (residual, by_sign, BRANCHES),
    "an item of the data": (residual, by_item, BRANCHES),
    "tokens of the data": (looking_gpt, by_sign, LANGUAGE),
}
GROWTHS = {"width": (64, 2), "depth": (16, 4), "both": (64, 4), "more than ten": (32, 11)}


def places_and_factors(plan: mt.Plan) -> dict[str, tuple[object, ...]]:
    return {
        name: (tensor.place, tensor.shape, tensor.ratios, *factors(plan, name, ALL_QUANTITIES))
        for name, tensor in plan.tensors.items()
    }


def roles(plan: mt.Plan) -> dict[str, str]:
    return {name: tensor.role.value for name, tensor in plan.tensors.items()}


@pytest.mark.parametrize(("width", "depth"), GROWTHS.values(), ids=GROWTHS)
@pytest.mark.parametrize("look", [by_sign, by_item])
def test_a_model_that_looks_at_its_data_needs_no_declaration(
    look: Look, width: int, depth: int
) -> None:
    """Numbers are there when the pass is read, so that a branch on them just runs."""
    torch.manual_seed(0)
    plan, twin = (
        mt.plan(residual(each, width, depth), residual(each, 16, 2)) for each in (look, identity)
    )
    assert places_and_factors(plan) == places_and_factors(twin) and roles(plan) == roles(twin)
    assert (plan.rule, plan.depth, plan.warnings) == (twin.rule, twin.depth, twin.warnings)


def test_a_model_that_cannot_run_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        mt.MutransferError,
        match=r"pass of Residual failed.*another device.*cannot run on the CPU.*branches=\{",
    ) as error:
        mt.plan(residual(elsewhere, 32, 2), residual(elsewhere, 16, 2))
    assert "branches={} if there are none" in str(error.value)


@pytest.mark.parametrize(("width", "depth"), GROWTHS.values(), ids=GROWTHS)
@pytest.mark.parametrize(("make", "look", "branches"), FAMILIES.values(), ids=FAMILIES)
def test_declared_branches_give_the_factors_of_the_traced_twin(
    make: Callable[..., nn.Module], look: Look, branches: Branches, width: int, depth: int
) -> None:
    torch.manual_seed(0)
    plan = mt.plan(make(look, width, depth), make(look, 16, 2), branches=branches)
    twin = mt.plan(make(identity, width, depth), make(identity, 16, 2))
    assert places_and_factors(plan) == places_and_factors(twin)
    assert (plan.rule, plan.depth, plan.clip) == (twin.rule, twin.depth, twin.clip)
    unread = {"declared-branches"} if look is elsewhere else set()
    assert warning_ids(plan) == warning_ids(twin) | unread
    assert width == 16 or roles(plan) == roles(twin)


def test_the_first_stars_of_a_value_are_those_of_its_key() -> None:
    layers = {"stages.*.blocks.*.up2": ("stages.*.blocks.*.n*.*", "stages.*.blocks.*.up1.*")}
    branches = mt.read(staged(elsewhere, 16, 12), branches=layers).branches
    assert branches is not None and len(branches) == 24
    assert branches[13].tensors == {
        f"stages.1.blocks.1.{layer}.{kind}"
        for layer in ("norm", "up1", "up2")
        for kind in ("weight", "bias")
    }
    assert branches[13].end == {
        "stages.1.blocks.1.up2.weight",
        "stages.1.blocks.1.up2.bias",
    }
    assert {branch.matrices for branch in branches} == {2}


def test_a_model_without_branches() -> None:
    def make(look: Look, width: int) -> nn.Module:
        model = mlp(width, inputs=5)
        model.activation = lambda x: torch.relu(look(x))
        return model

    plan = mt.plan(make(elsewhere, 32), make(elsewhere, 16), branches={})
    twin = mt.plan(make(identity, 32), make(identity, 16))
    assert places_and_factors(plan) == places_and_factors(twin)
    assert "declared-branches" in warning_ids(plan)


def test_depth_that_grows_in_a_model_declared_without_branches_is_refused() -> None:
    with pytest.raises(
        mt.MutransferError,
        match=r"2 times as many layers like blocks..*no declared branch has them",
    ):
        mt.plan(residual(by_sign, 16, 4), residual(by_sign, 16, 2), branches={})


REFUSED: dict[str, tuple[Branches, str]] = {
    "end": (
        {"layers.*.up2": ()},
        r"branches=\{'layers\.\*\.up2': \.\.\.\} matches no module of Residual",
    ),
    "a star is one level": ({"*.up2": ()}, r"'\*\.up2'.* matches no module"),
    "a tensor as the end": ({"blocks.*.up2.weight": ()}, "matches no module of Residual"),
    "inside": (
        {"blocks.*.up2": ("blocks.*.norm.*", "blocks.*.up3.*")},
        r"contains 'blocks\.0\.up3\.\*', which matches no parameter",
    ),
    "inside, not the first": (
        {"blocks.*.up2": ("blocks.0.up1.*", "blocks.1*.up1.*")},
        "which matches no parameter",
    ),
    "nothing learned": (
        {"blocks.*": ("blocks.*.norm.*",)},
        "blocks.0 ends a branch, as declared, but has no learned tensors",
    ),
}


@pytest.mark.parametrize(("branches", "message"), REFUSED.values(), ids=REFUSED)
def test_a_declaration_that_cannot_be_meant_is_refused(branches: Branches, message: str) -> None:
    with pytest.raises(mt.MutransferError, match=message):
        mt.plan(residual(by_sign, 16, 2), residual(by_sign, 16, 2), branches=branches)


def test_a_tied_embedding_is_refused_in_width_and_planned_in_depth() -> None:
    base = looking_gpt(elsewhere, 16, 2, tied=True)
    with pytest.raises(mt.MutransferError, match=r"gpt\.token.weight is also the head.*untie it"):
        mt.plan(looking_gpt(elsewhere, 32, 2, tied=True), base, branches=LANGUAGE)
    plan = mt.plan(looking_gpt(elsewhere, 16, 4, tied=True), base, branches=LANGUAGE)
    twin = mt.plan(*(looking_gpt(identity, 16, depth, tied=True) for depth in (4, 2)))
    assert places_and_factors(plan) == places_and_factors(twin)


def test_a_declared_tied_embedding_that_can_be_read_is_planned_in_width() -> None:
    plan, twin = (
        mt.plan(*(looking_gpt(look, n, 2, tied=True) for n in (32, 16)), branches=LANGUAGE)
        for look in (by_sign, identity)
    )
    assert places_and_factors(plan) == places_and_factors(twin)
    assert factors(plan, "gpt.norm.weight")[0] == 1 / 2


@pytest.mark.parametrize("look", [by_sign, elsewhere])
@pytest.mark.parametrize(("width", "depth"), GROWTHS.values(), ids=GROWTHS)
def test_a_reading_of_a_declared_base_is_as_good(width: int, depth: int, look: Look) -> None:
    model, base = looking_gpt(look, width, depth), looking_gpt(look, 16, 2)
    expected = mt.plan(model, base, branches=LANGUAGE)
    reading = mt.read(base, branches=LANGUAGE)
    for form in (reading, mt.Reading.from_json(reading.to_json())):
        assert mt.plan(model, form, branches=LANGUAGE) == expected


def test_a_declared_plan_initialises_and_trains() -> None:
    torch.manual_seed(0)
    base, model, x = residual(by_sign, 16, 2), residual(by_sign, 64, 4), torch.randn(8, 5)
    plan = mt.plan(model, base, branches=BRANCHES)
    plan.initialize(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, 0.01))
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(model(x).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert plan.audit(model, optimizer).ok and losses[-1] < losses[0]


def test_numbers_of_a_traced_model_are_not_undone_against_a_declared_base() -> None:
    def scaled(width: int) -> nn.Module:
        """Build a network that multiplies its stream by sqrt(width)."""
        model = residual(identity, width, 2)
        stem = model.stem
        model.stem = Net(lambda m, x: m.linear(x) * width**0.5, linear=stem)
        return model

    model, base = scaled(64), scaled(16)
    expected = mt.plan(model, base)["stem.linear.weight"].factor("init")
    try:
        plan = mt.plan(model, mt.read(base, branches=BRANCHES))
    except mt.MutransferError:
        return
    assert plan["stem.linear.weight"].factor("init") == expected


def test_a_kind_of_branch_that_was_forgotten_is_refused_where_depth_grows() -> None:
    with pytest.raises(mt.MutransferError):
        mt.plan(
            looking_gpt(elsewhere, 16, 4),
            looking_gpt(elsewhere, 16, 2),
            branches={"gpt.blocks.*.out": ATTENTION},
        )


@pytest.mark.xfail(strict=True, reason="every matrix is hidden where depth grows alone")
def test_depth_alone_leaves_the_roles_of_the_traced_twin() -> None:
    plan = mt.plan(residual(elsewhere, 16, 4), residual(elsewhere, 16, 2), branches=BRANCHES)
    assert roles(plan) == roles(mt.plan(residual(identity, 16, 4), residual(identity, 16, 2)))
