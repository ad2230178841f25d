"""Initial values, parameter groups, schedules and wrappers of a planned model."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler as schedules

import mutransfer as mt
from mutransfer.tasks import gpt, mlp

Models = Callable[[], tuple[nn.Module, nn.Module]]


def gpts() -> tuple[nn.Module, nn.Module]:
    settings = {"vocabulary": 19, "tied": True, "heads": 2}
    return gpt(64, 4, **settings), gpt(32, 2, **settings)


def mlps() -> tuple[nn.Module, nn.Module]:
    return mlp(32, 3, inputs=5), mlp(8, 3, inputs=5)


PAIRS = {"gpt": gpts, "mlp": mlps}


def rms(model: nn.Module, *names: str) -> float:
    tensors = [model.get_parameter(name).detach().flatten() for name in names]
    return torch.cat(tensors).square().mean().sqrt().item()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_initialize_gives_the_scale_it_promises_and_keeps_the_draw(pair: Models) -> None:
    model, base = pair()
    drawn, plan = values(model), mt.plan(model, base)
    plan.initialize(model)
    for name, tensor in plan.tensors.items():
        assert rms(model, *tensor.run) == pytest.approx(
            tensor.base_rms * tensor.factor("init"), rel=1e-6
        )
        now = model.get_parameter(name).detach()
        factor = now.norm() / drawn[name].norm() if now.any() else 1
        torch.testing.assert_close(now, drawn[name] * factor, rtol=1e-5, atol=0)


def test_the_promised_scale_is_the_law_of_the_paper() -> None:
    """Hidden 1/sqrt(n), readout 1/n, vectors constant (Tensor Programs V, Table 3)."""
    model, base = mlps()
    mt.plan(model, base).initialize(model)
    vectors = ["input.weight", "input.bias", "hidden.0.bias", "readout.bias"]
    expected = dict.fromkeys(vectors, 1.0) | {"hidden.0.weight": 1 / 2, "readout.weight": 1 / 4}
    for name, factor in expected.items():
        run = [name, name.replace("0", "1")] if "hidden" in name else [name]
        assert rms(model, *run) == pytest.approx(factor * rms(base, *run), rel=1e-5)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_initialize_is_idempotent(pair: Models) -> None:
    model, base = pair()
    plan = mt.plan(model, base)
    plan.initialize(model)
    once = values(model)
    plan.initialize(model)
    for name, tensor in values(model).items():
        torch.testing.assert_close(tensor, once[name], rtol=1e-6, atol=0)


def test_zeros_stay_zeros() -> None:
    model, base = gpts()
    for block in (*model.blocks, *base.blocks):
        nn.init.zeros_(block.down.weight)
    mt.plan(model, base).initialize(model)
    assert not any(block.down.weight.any() for block in model.blocks)
    assert all(block.out.weight.any() for block in model.blocks)


def test_groups_hold_every_parameter_once_at_the_planned_values() -> None:
    model, base = gpts()
    plan = mt.plan(model, base)
    groups = plan.param_groups(model, 0.5, eps=1e-3, weight_decay=0.25)
    members = [
        (name, parameter, group)
        for group in groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    ]
    names = sorted(name for name, _ in model.named_parameters())
    assert sorted(name for name, *_ in members) == names
    for name, parameter, group in members:
        assert parameter is model.get_parameter(name)
        assert group["lr"] == 0.5 * group["lr_factor"] and group["lr_factor"] == plan[name].factor(
            "lr"
        )
        assert group["eps"] == 1e-3 * plan[name].factor("eps")
        assert group["weight_decay"] == 0.25 * plan[name].factor("decay")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_defaults_are_those_of_torch(name: str) -> None:
    model, base = mlps()
    plan = mt.plan(model, base, optimizer=name)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    defaults = kinds[name](model.parameters(), lr=0.1).defaults
    for group in plan.param_groups(model, 0.1):
        tensor = plan[group["names"][0]]
        assert group["weight_decay"] == defaults["weight_decay"] * tensor.factor("decay")
        eps = None if name == "sgd" else defaults["eps"] * tensor.factor("eps")
        assert group.get("eps") == eps


def test_an_optimizer_outside_torch_has_no_decay_of_its_own() -> None:
    model, base = mlps()
    plan = mt.plan(model, base, optimizer="lion")
    for group in plan.param_groups(model, 0.1):
        assert group.keys() == {"params", "names", "lr", "lr_factor", "weight_decay"}
        assert group["weight_decay"] == 0
    decayed = plan.param_groups(model, 0.1, weight_decay=0.1)
    assert all(group["weight_decay"] > 0 for group in decayed)


def test_a_tensor_rate_is_cloned_and_inputs_stay() -> None:
    model, base = mlps()
    plan, rate, before = mt.plan(model, base), torch.tensor(0.5), values(model)
    groups = plan.param_groups(model, rate)
    for group in groups:
        assert isinstance(group["lr"], Tensor) and group["lr"] == 0.5 * group["lr_factor"]
    assert len({group["lr"].data_ptr() for group in groups} | {rate.data_ptr()}) == len(groups) + 1
    for group in groups:
        group["lr"].zero_()
    assert rate == 0.5
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    rates = [group["lr"] for group in optimizer.param_groups]
    return schedules.OneCycleLR(optimizer, rates, total_steps=9)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: schedules.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        lambda optimizer: schedules.CosineAnnealingLR(optimizer, 10),
        one_cycle,
    ],
    ids=["lambda", "cosine", "one cycle"],
)
def test_schedules_keep_the_ratios(schedule: Callable[..., Any]) -> None:
    model, base = gpts()
    optimizer = torch.optim.AdamW(mt.plan(model, base).param_groups(model, 0.1))
    scheduler = schedule(optimizer)
    rates = set()
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        shares = [group["lr"] / group["lr_factor"] for group in optimizer.param_groups]
        assert shares == pytest.approx([shares[0]] * len(shares), rel=1e-9)
        rates.add(shares[0])
    assert len(rates) == 8


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def both(model: nn.Module) -> nn.Module:
    return nn.DataParallel(compiled(model))


WRAPPERS = {
    "copy": copy.deepcopy,
    "compile": compiled,
    "data parallel": nn.DataParallel,
    "both": both,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_or_copied_model_is_the_planned_one(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    model, base = gpts()
    plan = mt.plan(model, base)
    wrapped = wrap(model)
    plain = [(group["names"], group["lr"]) for group in plan.param_groups(model, 0.1)]
    assert [(group["names"], group["lr"]) for group in plan.param_groups(wrapped, 0.1)] == plain
    plan.initialize(wrapped)
    once = [parameter.detach().clone() for parameter in wrapped.parameters()]
    plan.initialize(model)
    for parameter, before in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.detach(), before, rtol=1e-6, atol=0)


def test_frozen_parameters_are_planned_too() -> None:
    model, base = mlps()
    model.input.weight.requires_grad_(False)
    assert mt.plan(model, base) == mt.plan(mlps()[0], base)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_model_on_meta_has_the_same_plan(pair: Models) -> None:
    model, base = pair()
    with torch.device("meta"):
        unreal, _ = pair()
    assert mt.plan(unreal, base) == mt.plan(model, base) == mt.plan(model.bfloat16(), base)


def test_a_plan_from_json_applies() -> None:
    model, base = gpts()
    plan = mt.plan(model, base)
    other = copy.deepcopy(model)
    plan.initialize(model)
    again = mt.Plan.from_json(plan.to_json())
    again.initialize(other)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    assert str(again) == str(plan)
