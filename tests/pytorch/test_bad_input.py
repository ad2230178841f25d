"""Mistakes of users: refused by name, warned of, or seen by the audit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.factors import factors, table, warning_ids
from tests.models import Net, TwoMatrices, looped, pair

ROWS, STEPS = torch.zeros(2, 5), torch.zeros(2, 3, 5)
layers = nn.Sequential
loops = partial(looped, block=TwoMatrices)


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(mt.MutransferError, match=message) as error:
        yield
    assert "\n" not in str(error.value)


def roles_and_factors(plan: mt.Plan) -> dict[str, tuple[Any, ...]]:
    return {name: (plan[name].role, *row) for name, row in table(plan).items()}


def lstm(width: int, layers: int = 1) -> nn.Module:
    return nn.LSTM(5, width, layers, batch_first=True)


FAMILIES: dict[str, tuple[Callable[[], Any], str]] = {
    "linear and convolution": (
        lambda: mt.plan(
            layers(nn.Linear(3, 8), nn.Linear(8, 2)),
            layers(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)),
        ),
        r"0\.weight is of a Linear in the model and of a Conv2d in the base: "
        "they are not one family",
    ),
    "another kernel": (
        lambda: mt.plan(
            layers(nn.Conv2d(3, 8, 5), nn.Conv2d(8, 2, 3)),
            layers(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)),
        ),
        r"0\.weight: dimension 2 of \(8, 3, 5, 5\) differs from the base's.*the same size",
    ),
    "a spare module": (
        lambda: mt.plan(pair(16, spare=nn.Linear(16, 16)), pair(8)),
        r"the model has spare\.weight, which the base has not",
    ),
    "a missing module": (
        lambda: mt.plan(pair(16), pair(8, spare=nn.Linear(8, 8))),
        r"the base has spare\.weight, which the model has not",
    ),
    "no bias": (
        lambda: mt.plan(
            pair(16, spare=nn.Linear(16, 16, bias=False)), pair(8, spare=nn.Linear(8, 8))
        ),
        r"the base has spare\.bias, which the model has not",
    ),
    "other classes": (
        lambda: mt.plan(mlp(16), gpt(16)),
        "the base has .*, which the model has not",
    ),
    "more recurrent layers": (
        lambda: mt.plan(lstm(16, 2), lstm(8), example_inputs=STEPS),
        "the model has weight_ih_l1, which the base has not",
    ),
}


@pytest.mark.parametrize(("call", "message"), FAMILIES.values(), ids=FAMILIES)
def test_models_of_two_families_are_refused(call: Callable[[], Any], message: str) -> None:
    with refused(message):
        call()


@pytest.mark.parametrize(
    "base",
    ["mlp", None, 3, type(mlp()), lambda width: mlp(width)],
    ids=["text", "none", "number", "class", "builder"],
)
def test_a_base_that_is_no_model_is_refused(base: Any) -> None:
    with refused("is no model|give the base itself"):
        mt.plan(mlp(16), base)


def test_a_class_that_needs_no_arguments_is_a_builder() -> None:
    class Small(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(5, 8), nn.Linear(8, 3))

    model = layers(nn.Linear(5, 16), nn.Linear(16, 3))
    assert mt.plan(model, Small)["1.weight"].factor("lr") == 1 / 2


@pytest.mark.parametrize(
    "options", [{"rule": "sp"}, {"branches": {}}, {"example_inputs": ROWS}], ids=str
)
def test_a_model_without_parameters_is_refused(options: dict[str, Any]) -> None:
    with refused("ReLU has no parameters: there is nothing to plan"):
        mt.plan(nn.ReLU(), nn.ReLU(), **options)


INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "two are needed": (
        lambda: mt.plan(*(Net(lambda m, x, y: m.a(x) + m.a(y), a=nn.Linear(5, n)) for n in (8, 8))),
        r"forward pass of Net failed .*give inputs it accepts with example_inputs=",
    ),
    "none can be guessed": (
        lambda: mt.plan(lstm(16), lstm(8)),
        r"inputs of LSTM cannot be guessed.*give some with example_inputs=",
    ),
    "wrong shape": (
        lambda: mt.plan(pair(16), pair(8), example_inputs=torch.zeros(2, 7)),
        r"of Net failed .*example_inputs=",
    ),
    "wrong type": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs=torch.zeros(2, 7)),
        r"of GPT failed .*indices.*example_inputs=",
    ),
    "none at all": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs=()),
        r"missing 1 required positional argument: 'tokens'.*example_inputs=",
    ),
    "another name": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs={"ids": ROWS}),
        r"unexpected keyword argument 'ids'.*example_inputs=",
    ),
    "text": (
        lambda: mt.plan(gpt(32), gpt(16), example_inputs="hello"),
        r"must be Tensor, not str.*example_inputs=",
    ),
}


@pytest.mark.parametrize(("call", "message"), INPUTS.values(), ids=INPUTS)
def test_a_forward_pass_that_needs_other_inputs_says_how_to_give_them(
    call: Callable[[], Any], message: str
) -> None:
    with refused(message):
        call()


DECLARED: dict[str, tuple[dict[str, Any], str]] = {
    "axes of nothing": (
        {"axes": {"steam.*": ("out", "in")}},
        r"axes=\{'steam\.\*': \.\.\.\} matches no parameter.*'stem\.weight'",
    ),
    "too many axes": (
        {"axes": {"stem.weight": ("out", "in", "finite")}},
        r"stem\.weight has shape \(16, 5\), but 3 axes were declared",
    ),
    "an unknown axis": (
        {"axes": {"stem.weight": ("out", "width")}},
        r"axes of 'stem\.weight': \['width'\] are no axes; say \"out\"",
    ),
    "roles of nothing": (
        {"roles": {"steam.*": "input"}},
        r"roles=\{'steam\.\*': \.\.\.\} matches no parameter.*'stem\.weight'",
    ),
    "an unknown role": (
        {"roles": {"stem.weight": "inputs"}},
        r"'inputs'\}: there is no such role; choose one of input, embedding",
    ),
    "no role": (
        {"roles": {"stem.weight": None}},
        r"None\}: there is no such role; choose one of input",
    ),
}


@pytest.mark.parametrize(("options", "message"), DECLARED.values(), ids=DECLARED)
def test_a_declaration_that_cannot_be_meant_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with refused(message):
        mt.plan(pair(16), pair(8), **options)


def trained(plan: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the plan's groups, after some steps."""
    optimizer = torch.optim.AdamW(plan.param_groups(model, 0.1))
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(4, 5)).square().sum().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("before", [True, False])
def test_a_frozen_parameter_is_planned_and_not_trained(before: bool) -> None:
    model, base = pair(32), pair(16)
    expected = mt.plan(model, base)
    if before:
        model.stem.requires_grad_(False)
    plan = mt.plan(model, base)
    model.stem.requires_grad_(False)
    plan.initialize(model)
    value = model.stem.weight.clone()
    optimizer = trained(plan, model)
    assert plan == expected and plan.audit(model, optimizer).ok
    assert torch.equal(model.stem.weight, value) and model.stem.weight not in optimizer.state


def test_an_unused_parameter_is_warned_of_and_changes_nothing_else() -> None:
    plan = mt.plan(pair(32, spare=nn.Linear(32, 32)), pair(16, spare=nn.Linear(16, 16)))
    bare = mt.plan(pair(32), pair(16))
    (warning,) = [warning for warning in plan.warnings if warning.id == "unused"]
    assert "2 tensors such as spare.weight are not used" in warning.text
    assert roles_and_factors(bare).items() <= roles_and_factors(plan).items()
    assert "unused" not in warning_ids(bare)
    model = pair(32, spare=nn.Linear(32, 32))
    assert plan.audit(model, trained(plan, model)).ok


def test_the_audit_finds_what_is_wrong_with_membership() -> None:
    model = pair(32)
    plan = mt.plan(model, pair(16))
    groups = plan.param_groups(model, 0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(plan.tensors)

    lost = [
        {k: v for k, v in group.items() if k != "names"}
        for group in groups
        if "readout.weight" not in group["names"]
    ]
    (finding,) = plan.audit(model, torch.optim.AdamW(lost)).findings
    assert "readout.weight: planned to train, found in no group of AdamW" in finding

    optimizers = torch.optim.AdamW(groups), torch.optim.AdamW(plan.param_groups(model, 0.1)[:1])
    (finding,) = plan.audit(model, *optimizers).findings
    assert groups[0]["names"][0] in finding and "planned for one group, found in 2" in finding

    strangers = torch.optim.AdamW(plan.param_groups(model, 0.1))
    strangers.param_groups[0]["params"].append(nn.Parameter(torch.zeros(7, 9)))
    findings = plan.audit(model, strangers).findings
    assert any("found 1 others (of shape 7x9)" in finding for finding in findings)


@pytest.mark.parametrize("once", [0, 2])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_looped_block_that_widens_has_the_factors_of_one_used_once(
    once: int, residual: bool, optimizer: str
) -> None:
    def planned(times: int) -> mt.Plan:
        sizes = {"times": times, "once": once, "residual": residual}
        return mt.plan(loops(64, **sizes), loops(16, **sizes), optimizer=optimizer)

    looping, single = planned(3), planned(1)
    assert roles_and_factors(looping) == roles_and_factors(single)
    if optimizer == "adamw":
        assert factors(looping, "block.up.weight")[:2] == (1 / 2, 1 / 4)


@pytest.mark.parametrize("once", [0, 2])
@pytest.mark.parametrize("residual", [True, False])
def test_a_growing_number_of_loops_is_refused(once: int, residual: bool) -> None:
    with refused("block"):
        mt.plan(*(loops(16, times=n, once=once, residual=residual) for n in (6, 3)))


def test_a_looped_block_in_a_model_that_deepens_is_refused() -> None:
    with refused("is used 4 times in a forward pass, in the base 2 times"):
        mt.plan(loops(16, times=4, once=4), loops(16, times=2, once=2))


def test_blocks_before_a_looped_one_are_a_stack_of_their_own() -> None:
    """Four branches in place of two, each halved; as many loops, of as large a branch."""
    plan = mt.plan(loops(16, times=2, once=4), loops(16, times=2, once=2))
    assert plan.rule == "completep"
    for i in range(4):
        assert factors(plan, f"once.{i}.down.weight") == (1 / 2, 1 / 2, 1, 2)
        assert factors(plan, f"once.{i}.up.weight") == (1, 1, 1 / 2, 1)
    for name in ("block.up.weight", "block.down.weight"):
        assert factors(plan, name) == (1, 1, 1, 1)


def test_branches_without_their_tensors_are_refused() -> None:
    ends: Any = ["blocks.*.out", "blocks.*.down"]
    with refused("branches"):
        mt.plan(gpt(32), gpt(16), branches=ends)
