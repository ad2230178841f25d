"""Trainers train with the plan's groups and keep their ratios."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lion_pytorch import Lion
from torch import nn
from torch.nn import functional as F
from transformers import Trainer

import mutransfer as mt
from mutransfer.pytorch import configure_optimizers, optimizer_cls_and_kwargs
from mutransfer.tasks import gpt
from tests.models import Net

RATE = 2**-8
MIX = {"hidden": "muon-match-rms", "*": "adamw"}


def planned(**settings: Any) -> tuple[nn.Module, mt.Plan]:
    torch.manual_seed(0)
    model = gpt(32, 4)
    plan = mt.plan(model, gpt(16, 2), **settings)
    plan.initialize(model)
    return model, plan


class Stub(SimpleNamespace):
    """The part of a Trainer that its own methods read."""

    get_decay_parameter_names = Trainer.get_decay_parameter_names
    create_optimizer = Trainer.create_optimizer
    create_scheduler = Trainer.create_scheduler


def trainer(model: nn.Module, given: Any, schedule: str = "linear", **settings: Any) -> Stub:
    args = SimpleNamespace(
        weight_decay=0.3,
        learning_rate=1.0,
        lr_scheduler_type=schedule,
        lr_scheduler_kwargs=settings,
        get_warmup_steps=lambda steps: 2,
    )
    return Stub(
        model=model,
        args=args,
        optimizer=None,
        lr_scheduler=None,
        optimizer_cls_and_kwargs=given,
    )


def identified(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the groups with the identities of their parameters."""
    groups = optimizer.param_groups
    return [group | {"params": [id(p) for p in group["params"]]} for group in groups]


def same_groups(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> bool:
    return identified(one) == identified(other)


def step(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    ids = torch.arange(16).reshape(2, 8)
    F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def test_a_trainer_makes_the_optimizer_of_the_plan_each_time() -> None:
    model, plan = planned()
    modules = {"head.*": 0.5}
    settings = {"weight_decay": 0.1, "eps": 1e-7, "undecayed": ["bias"], "modules": modules}
    given = optimizer_cls_and_kwargs(plan, model, RATE, **settings, betas=(0.8, 0.9))
    groups = plan.param_groups(model, RATE, **settings)
    expected = torch.optim.AdamW(groups, lr=RATE, betas=(0.8, 0.9))
    for _ in range(2):
        optimizer = trainer(model, given).create_optimizer()
        assert type(optimizer) is torch.optim.AdamW and same_groups(optimizer, expected)
        assert optimizer.defaults["lr"] == RATE
        assert plan.audit(model, optimizer, modules=modules).ok


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine_with_restarts", {"num_cycles": 2}),
        ("cosine_with_min_lr", {"min_lr": RATE / 10}),
        ("polynomial", {"lr_end": RATE / 10}),
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("inverse_sqrt", {}),
        ("warmup_stable_decay", {"num_decay_steps": 4}),
    ],
)
def test_the_trainers_schedules_keep_the_ratios(schedule: str, settings: dict[str, Any]) -> None:
    model, plan = planned()
    running = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE), schedule, **settings)
    optimizer = running.create_optimizer()
    running.create_scheduler(num_training_steps=10)
    with plan.guard(model, optimizer):
        for _ in range(10):
            step(model, optimizer)
            running.lr_scheduler.step()
    if "min_lr" in settings or "lr_end" in settings:
        rates = [group["lr"] / group["lr_factor"] for group in optimizer.param_groups]
        assert rates == pytest.approx([RATE / 10] * len(rates))


def test_a_trainer_of_another_model_is_refused() -> None:
    model, plan = planned()
    given = optimizer_cls_and_kwargs(plan, model, RATE)
    with pytest.raises(mt.MutransferError, match=r"shape .* the planned model has not"):
        trainer(planned()[0], given).create_optimizer()


def test_a_tensor_that_is_frozen_by_the_plan_alone_is_left_out() -> None:
    model, plan = planned(roles={"position.weight": "frozen"})
    optimizer = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE)).create_optimizer()
    names = {name for group in optimizer.param_groups for name in group["names"]}
    assert "position.weight" not in names


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"optimizer": MIX}, {}, "muon-match-rms.*one optimizer"),
        ({}, {"beta": 0.9}, "AdamW does not take"),
        ({}, {"rho": 0.1}, "no rho"),
        ({"optimizer": "lion"}, {}, "torch has no optimizer for lion"),
        (
            {"optimizer": "nadamw"},
            {"decoupled_weight_decay": False},
            "sets decoupled_weight_decay itself",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(settings: Any, given: Any, message: str) -> None:
    model, plan = planned(**settings)
    with pytest.raises(mt.MutransferError, match=message):
        optimizer_cls_and_kwargs(plan, model, RATE, **given)


@pytest.mark.parametrize(
    "name",
    [
        "sgd",
        "adam",
        "adamw",
        "amsgrad",
        "nadam",
        "nadamw",
        "radam",
        "radamw",
        "adagrad",
        "adafactor",
        "adamax",
    ],
)
def test_the_optimizer_of_each_family_of_torch_is_recognised(name: str) -> None:
    model, plan = planned(optimizer=name)
    optimizer = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE)).create_optimizer()
    audit = plan.audit(model, optimizer)
    assert audit.ok and not audit.unknown, str(audit)


def test_another_class_is_used_where_it_is_given() -> None:
    model, plan = planned(optimizer="lion")
    given = optimizer_cls_and_kwargs(plan, model, RATE, optimizer=Lion, betas=(0.8, 0.9))
    optimizer = trainer(model, given).create_optimizer()
    assert type(optimizer) is Lion and optimizer.defaults["betas"] == (0.8, 0.9)
    assert plan.audit(model, optimizer).ok


def test_lightning_gets_one_optimizer() -> None:
    """The network is a part of the module."""
    net, plan = planned()
    module = Net(lambda m, x: m.net(x), net=net)
    settings = {"weight_decay": 0.1}
    optimizer = configure_optimizers(plan, module.net, RATE, **settings, betas=(0.8, 0.9))
    groups = plan.param_groups(net, RATE, **settings)
    expected = torch.optim.AdamW(groups, lr=RATE, betas=(0.8, 0.9))
    assert type(optimizer) is torch.optim.AdamW and same_groups(optimizer, expected)


def test_lightning_gets_a_list_for_a_mix() -> None:
    model, plan = planned(optimizer=MIX)
    optimizers = configure_optimizers(
        plan,
        model,
        {"muon-match-rms": 0.02, "adamw": RATE},
        weight_decay={"adamw": 0.1},
        betas={"adamw": (0.8, 0.9)},
        optimizers={"adamw": torch.optim.AdamW},
    )
    assert isinstance(optimizers, list)
    assert {type(one) for one in optimizers} == {torch.optim.Muon, torch.optim.AdamW}
    by_name = dict(zip(plan.optimizers, optimizers, strict=True))
    muon, adamw = by_name["muon-match-rms"], by_name["adamw"]
    assert muon.defaults["adjust_lr_fn"] == "match_rms_adamw"
    assert adamw.defaults["betas"] == (0.8, 0.9)
    assert {g["lr"] / g["lr_factor"] for g in muon.param_groups} == {0.02}
    groups = plan.param_groups(model, RATE, weight_decay=0.1, optimizer="adamw")
    assert same_groups(adamw, torch.optim.AdamW(groups, lr=RATE, betas=(0.8, 0.9)))
    step(model, *optimizers)
    plan.audit(model, *optimizers).raise_if_wrong()


@pytest.mark.parametrize(
    ("lr", "settings", "message"),
    [
        ({"adamw": 0.1}, {}, "no rate for muon-match-rms"),
        (0.1, {"weight_decay": {"adam": 0.1}}, "no optimizer 'adam'"),
        (0.1, {"optimizers": {"sgd": torch.optim.SGD}}, "no optimizer 'sgd'"),
        (0.1, {"betas": (0.9, 0.99)}, "Muon does not take"),
    ],
)
def test_a_mix_given_wrongly_is_refused(lr: Any, settings: Any, message: str) -> None:
    model, plan = planned(optimizer=MIX)
    with pytest.raises(mt.MutransferError, match=message):
        configure_optimizers(plan, model, lr, **settings)
