"""Copies, checkpoints, types, rates and orders of parameters keep to the plan."""

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

import mutransfer as mt
from tests.factors import ALL_QUANTITIES, QUANTITIES, factors, table
from tests.pytorch.lifecycle import (
    HYPERPARAMETERS,
    MODELS,
    assert_close,
    assert_same,
    hyperparameters,
    plan_of,
    planned,
    reference,
    retied,
    through_bytes,
    train,
    trained,
    values,
)

every_model = pytest.mark.parametrize("kind", MODELS)
two_models = pytest.mark.parametrize("kind", ["tied gpt", "mlp"])


PLANS: dict[str, Callable[[mt.Plan], mt.Plan]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda plan: pickle.loads(pickle.dumps(plan)),
    "json": lambda plan: mt.Plan.from_json(plan.to_json()),
    "torch.save": lambda plan: through_bytes(plan, False),
    "torch.save of json": lambda plan: mt.Plan.from_json(
        through_bytes({"plan": plan.to_json()}, True)["plan"]
    ),
}


@pytest.mark.parametrize("operation", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@every_model
def test_a_plan_is_data(kind: str, optimizer: str, operation: Callable[[mt.Plan], mt.Plan]) -> None:
    model, plan = planned(kind, optimizer)
    again = operation(plan)
    assert again == plan and str(again) == str(plan) and again.to_json() == plan.to_json()
    model, drawn = MODELS[kind][0](2), MODELS[kind][0](2)
    drawn.load_state_dict(model.state_dict())
    plan.initialize(model)
    again.initialize(drawn)
    assert_same(model, drawn)
    groups = plan.param_groups(model, 0.1), again.param_groups(drawn, 0.1)
    assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]


@every_model
def test_model_and_plan_copied_together_belong_together(kind: str) -> None:
    model, plan = copy.deepcopy(planned(kind))
    assert_close(trained(model, plan, kind), reference(kind))


@every_model
def test_nothing_is_put_into_the_model(kind: str) -> None:
    """A saved model names no class of the plan and has no new attributes."""
    model, plan = planned(kind)
    plan.param_groups(model, 0.1)
    fresh = MODELS[kind][0](2)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    names = get_unsafe_globals_in_checkpoint(file)
    assert all(name.startswith("mutransfer.tasks") for name in names if "mutransfer" in name)
    assert model.state_dict().keys() == fresh.state_dict().keys()
    for module, other in zip(model.modules(), fresh.modules(), strict=True):
        assert type(module) is type(other)
        assert module.__dict__.keys() == other.__dict__.keys()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert not getattr(module, kind)
    for parameter in model.parameters():
        assert type(parameter) is nn.Parameter
        assert not parameter.__dict__ and not parameter._backward_hooks


@every_model
def test_a_checkpoint_of_state_and_plan_loads_with_weights_only(kind: str) -> None:
    model, plan = planned(kind)
    saved = through_bytes({"model": model.state_dict(), "plan": plan.to_json()}, True)
    other = MODELS[kind][0](2)
    other.load_state_dict(saved["model"])
    assert_close(trained(other, mt.Plan.from_json(saved["plan"]), kind), reference(kind))


@every_model
def test_deferred_initialisation(kind: str) -> None:
    """A model planned on meta and drawn later is one that had values from the start."""
    make, x = MODELS[kind]
    base = make(1)
    with torch.device("meta"):
        deferred = make(2)
    plan = mt.plan(deferred, base, example_inputs=x)
    with pytest.raises(mt.MutransferError, match="meta"):
        plan.initialize(deferred)
    real = make(2)
    assert mt.plan(real, base, example_inputs=x) == plan
    deferred = retied(deferred.to_empty(device="cpu"), real)
    for model in (deferred, real):
        torch.manual_seed(2)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if kind == "mlp" and isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        plan.initialize(model)
    for tensor in plan.tensors.values():
        run = [deferred.get_parameter(name).detach().flatten() for name in tensor.run]
        rms = torch.cat(run).square().mean().sqrt().item()
        if tensor.base_rms and rms:
            assert rms == pytest.approx(tensor.base_rms * tensor.factor("init"), rel=1e-12)
    assert_same(deferred, real)
    assert_close(trained(deferred, plan, kind), trained(real, plan, kind))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@two_models
def test_another_type_after_initialize(kind: str, dtype: torch.dtype) -> None:
    """Values are rounded, and training is that with hyperparameters by hand."""
    (model, plan), (by_hand, _) = planned(kind), planned(kind)
    before = hyperparameters(plan, model)
    model, by_hand = model.to(dtype), by_hand.to(dtype)
    assert hyperparameters(plan, model) == before
    rounded = [value.to(dtype) for value in values(planned(kind)[0])]
    assert all(torch.equal(a, b) for a, b in zip(values(model), rounded, strict=True))
    groups = [
        {"params": [by_hand.get_parameter(name)], "lr": lr, "eps": eps, "weight_decay": decay}
        for name, (lr, eps, decay, _) in before.items()
    ]
    tensors = trained_in(dtype, model, plan, kind)
    train_in(dtype, by_hand, torch.optim.AdamW(groups), kind)
    for name, tensor in tensors.items():
        assert torch.equal(tensor, by_hand.get_parameter(name)) and tensor.isfinite().all()


def train_in(
    dtype: torch.dtype, model: nn.Module, optimizer: torch.optim.Optimizer, kind: str
) -> None:
    x = MODELS[kind][1]
    for _ in range(3):
        optimizer.zero_grad()
        model(x.to(dtype) if x.is_floating_point() else x).float().square().mean().backward()
        optimizer.step()


def trained_in(dtype: torch.dtype, model: nn.Module, plan: mt.Plan, kind: str) -> dict[str, Tensor]:
    groups = plan.param_groups(model, 0.05, **HYPERPARAMETERS)
    train_in(dtype, model, torch.optim.AdamW(groups), kind)
    return {name: model.get_parameter(name) for name in plan.tensors}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@two_models
def test_another_type_before_initialize(kind: str, dtype: torch.dtype) -> None:
    (model, plan), (wide, _) = planned(kind, initialize=False), planned(kind)
    model = model.to(dtype)
    plan.initialize(model)
    precision = 2 * torch.finfo(dtype).eps
    for name, tensor in plan.tensors.items():
        value, expected = model.get_parameter(name), wide.get_parameter(name)
        assert value.dtype == dtype
        atol = precision * (tensor.base_rms or 0)
        torch.testing.assert_close(value.double(), expected, rtol=precision, atol=atol)
    assert hyperparameters(plan, model) == hyperparameters(plan, wide)


@two_models
def test_a_model_of_another_type_has_the_same_plan(kind: str) -> None:
    make, x = MODELS[kind]
    torch.manual_seed(1)
    model, base = make(2), make(1)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        inputs = x.to(dtype) if kind == "mlp" else x
        again = mt.plan(copy.deepcopy(model).to(dtype), base, example_inputs=inputs)
        assert again == plan_of(kind, "adamw")


@two_models
def test_a_tensor_rate_trains_as_a_number_and_stays_the_users(kind: str) -> None:
    model, plan = planned(kind)
    rate = torch.tensor(0.05, dtype=torch.float64)
    assert_close(trained(model, plan, kind, rate), reference(kind))
    assert rate == torch.tensor(0.05, dtype=torch.float64)
    groups = plan.param_groups(model, rate)
    groups += plan.param_groups(model, rate)
    rates = [rate, *(group["lr"] for group in groups)]
    assert len({id(lr) for lr in rates}) == len({lr.data_ptr() for lr in rates})
    assert len({lr.data_ptr() for lr in rates}) == len(groups) + 1
    groups[0]["lr"].mul_(0)
    assert rate and all(group["lr"] for group in groups[1:])


@two_models
def test_a_tensor_rate_may_be_scheduled(kind: str) -> None:
    runs = []
    for rate in (0.05, torch.tensor(0.05, dtype=torch.float64)):
        model, plan = planned(kind)
        optimizer = torch.optim.AdamW(plan.param_groups(model, rate, **HYPERPARAMETERS))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        for _ in range(3):
            train(model, optimizer, kind, 1)
            scheduler.step()
        runs.append(dict(zip(plan.tensors, values(model), strict=True)))
        assert rate == 0.05
    assert_close(runs[1], runs[0])


def reversed_modules(model: nn.Module) -> nn.Module:
    """Register the modules, and so the parameters, in another order."""
    for module in list(model.modules()):
        if not isinstance(module, nn.ModuleList):
            module._modules = dict(reversed(module._modules.items()))
            module._parameters = dict(reversed(module._parameters.items()))
    return model


@pytest.mark.parametrize("kind", ["gpt", "mlp"])
def test_the_order_of_parameters_does_not_matter(kind: str) -> None:
    model, plan = planned(kind)
    before = hyperparameters(plan, model)
    other = reversed_modules(copy.deepcopy(model))
    assert [name for name, _ in other.named_parameters()] != [
        name for name, _ in model.named_parameters()
    ]
    assert hyperparameters(plan, other) == before
    assert_close(trained(other, plan, kind), reference(kind))
    make, x = MODELS[kind]
    torch.manual_seed(1)
    target, base = make(2), make(1)
    for pair in (
        (reversed_modules(copy.deepcopy(target)), base),
        (target, reversed_modules(copy.deepcopy(base))),
    ):
        again = mt.plan(*pair, example_inputs=x)
        assert list(again.tensors) == [name for name, _ in pair[0].named_parameters()]
        assert table(again, QUANTITIES) == table(plan, QUANTITIES)
        for name, tensor in plan.tensors.items():
            assert again[name].base_rms == pytest.approx(tensor.base_rms, rel=1e-12)


def test_the_order_of_parameters_does_not_matter_to_ties() -> None:
    """If the head is registered before the embedding, the tensor has the head's name."""
    make, x = MODELS["tied gpt"]
    torch.manual_seed(1)
    model, base = (reversed_modules(make(scale)) for scale in (2, 1))
    plan, expected = mt.plan(model, base, example_inputs=x), plan_of("tied gpt", "adamw")
    assert "head.weight" in plan.tensors and "token.weight" not in plan.tensors
    for name, tensor in expected.tensors.items():
        again = "head.weight" if name == "token.weight" else name
        assert plan[again].role == tensor.role
        assert factors(plan, again, ALL_QUANTITIES) == factors(expected, name, ALL_QUANTITIES)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "rate", [0.05, torch.tensor(0.05, dtype=torch.float64)], ids=["number", "tensor"]
)
@two_models
def test_a_resumed_run_is_the_uninterrupted_one(
    kind: str, rate: float | Tensor, optimizer: str
) -> None:
    cls = {"adamw": torch.optim.AdamW, "sgd": partial(torch.optim.SGD, momentum=0.9)}[optimizer]
    whole, plan = planned(kind, optimizer)
    first, _ = planned(kind, optimizer)
    train(whole, cls(plan.param_groups(whole, rate)), kind, 4)
    groups = plan.param_groups(first, rate)
    expected = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    early = cls(groups)
    train(first, early, kind, 2)
    states = {"model": first.state_dict(), "optimizer": early.state_dict()}
    saved = through_bytes(states | {"plan": plan.to_json()}, True)
    second = MODELS[kind][0](2)
    second.load_state_dict(saved["model"])
    late = cls(mt.Plan.from_json(saved["plan"]).param_groups(second, 123.0))
    late.load_state_dict(saved["optimizer"])
    for group, before in zip(late.param_groups, expected, strict=True):
        assert {k: group[k] for k in before} == before
    train(second, late, kind, 2)
    assert_close(dict(second.named_parameters()), dict(whole.named_parameters()))
