"""Trainers that make or take optimizers train with the plan's groups and keep their ratios."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lion_pytorch import Lion
from torch import nn
from torch.nn import functional as F
from transformers import Trainer

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.ext import configure_optimizers, optimizer_cls_and_kwargs
from mutransfer.plan import Plan
from mutransfer.tasks import gpt

RATE = 2**-8
MIX = {"hidden": "muon-match-rms", "*": "adamw"}


def planned(**settings: Any) -> tuple[nn.Module, Plan]:
    torch.manual_seed(0)
    model = gpt(width=32, depth=4)
    plan = mt.plan(model, gpt(width=16, depth=2), **settings)
    plan.initialize(model)
    return model, plan


class Stub(SimpleNamespace):
    """What Trainer's own methods read of a Trainer; the class itself needs accelerate to be instantiated."""

    get_decay_parameter_names = Trainer.get_decay_parameter_names
    create_optimizer = Trainer.create_optimizer
    create_scheduler = Trainer.create_scheduler


def trainer(model: nn.Module, given: Any, schedule: str = "linear", **settings: Any) -> Stub:
    args = SimpleNamespace(
        weight_decay=0.3, learning_rate=1.0, lr_scheduler_type=schedule, lr_scheduler_kwargs=settings, get_warmup_steps=lambda steps: 2
    )
    return Stub(model=model, args=args, optimizer=None, lr_scheduler=None, optimizer_cls_and_kwargs=given)


def same_groups(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> bool:
    return [{**g, "params": [id(p) for p in g["params"]]} for g in one.param_groups] == [
        {**g, "params": [id(p) for p in g["params"]]} for g in other.param_groups
    ]


def step(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    ids = torch.arange(16).reshape(2, 8)
    F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def test_the_trainer_makes_just_the_plans_optimizer_each_time_it_is_asked() -> None:
    model, plan = planned()
    given = optimizer_cls_and_kwargs(
        plan, model, RATE, weight_decay=0.1, eps=1e-7, undecayed=["bias"], modules={"head.*": 0.5}, betas=(0.8, 0.9)
    )
    groups = plan.param_groups(model, RATE, weight_decay=0.1, eps=1e-7, undecayed=["bias"], modules={"head.*": 0.5})
    wanted = torch.optim.AdamW(groups, lr=RATE, betas=(0.8, 0.9))
    for _ in range(2):
        made = trainer(model, given).create_optimizer()
        assert type(made) is torch.optim.AdamW and same_groups(made, wanted) and made.defaults["lr"] == RATE
        assert plan.audit(model, made, modules={"head.*": 0.5}).ok


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
    own = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE), schedule, **settings)
    optimizer = own.create_optimizer()
    own.create_scheduler(num_training_steps=10)
    with plan.guard(model, optimizer):
        for _ in range(10):
            step(model, optimizer)
            own.lr_scheduler.step()
    if "min_lr" in settings or "lr_end" in settings:
        assert [g["lr"] / g["lr_factor"] for g in optimizer.param_groups] == pytest.approx([RATE / 10] * len(optimizer.param_groups))


def test_a_trainer_of_another_model_is_refused() -> None:
    model, plan = planned()
    given = optimizer_cls_and_kwargs(plan, model, RATE)
    with pytest.raises(MutransferError, match=r"shape .* the planned model has not"):
        trainer(planned()[0], given).create_optimizer()


def test_a_tensor_that_is_frozen_by_the_plan_alone_is_left_out() -> None:
    model, plan = planned(roles={"position.weight": "frozen"})
    made = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE)).create_optimizer()
    assert "position.weight" not in {name for group in made.param_groups for name in group["names"]}


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"optimizer": MIX}, {}, "muon-match-rms.*one optimizer"),
        ({}, {"beta": 0.9}, "AdamW does not take"),
        ({}, {"rho": 0.1}, "no rho"),
        ({"optimizer": "lion"}, {}, "torch has no optimizer for lion"),
        ({"optimizer": "nadamw"}, {"decoupled_weight_decay": False}, "sets decoupled_weight_decay itself"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(settings: Any, given: Any, message: str) -> None:
    model, plan = planned(**settings)
    with pytest.raises(MutransferError, match=message):
        optimizer_cls_and_kwargs(plan, model, RATE, **given)


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "adamw", "amsgrad", "nadam", "nadamw", "radam", "radamw", "adagrad", "adafactor", "adamax"]
)
def test_each_family_of_torch_is_made_as_the_plan_takes_it_for(name: str) -> None:
    model, plan = planned(optimizer=name)
    made = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE)).create_optimizer()
    audit = plan.audit(model, made)
    assert audit.ok and not audit.unknown, str(audit)


def test_another_class_is_used_where_it_is_given() -> None:
    model, plan = planned(optimizer="lion")
    made = trainer(model, optimizer_cls_and_kwargs(plan, model, RATE, optimizer=Lion, betas=(0.8, 0.9))).create_optimizer()
    assert type(made) is Lion and made.defaults["betas"] == (0.8, 0.9) and plan.audit(model, made).ok


class Module(nn.Module):
    """A LightningModule's shape: the network is a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.plan = planned()

    def configure_optimizers(self) -> Any:
        return configure_optimizers(self.plan, self.net, RATE, weight_decay=0.1, betas=(0.8, 0.9))


def test_lightning_gets_one_optimizer() -> None:
    module = Module()
    made = module.configure_optimizers()
    wanted = torch.optim.AdamW(module.plan.param_groups(module.net, RATE, weight_decay=0.1), lr=RATE, betas=(0.8, 0.9))
    assert type(made) is torch.optim.AdamW and same_groups(made, wanted)


def test_lightning_gets_a_list_for_a_mix() -> None:
    model, plan = planned(optimizer=MIX)
    made = configure_optimizers(
        plan,
        model,
        {"muon-match-rms": 0.02, "adamw": RATE},
        weight_decay={"adamw": 0.1},
        betas={"adamw": (0.8, 0.9)},
        optimizers={"adamw": torch.optim.AdamW},
    )
    assert isinstance(made, list) and {type(each) for each in made} == {torch.optim.Muon, torch.optim.AdamW}
    by_name = dict(zip(plan.optimizers, made, strict=True))
    muon, adamw = by_name["muon-match-rms"], by_name["adamw"]
    assert muon.defaults["adjust_lr_fn"] == "match_rms_adamw" and adamw.defaults["betas"] == (0.8, 0.9)
    assert {g["lr"] / g["lr_factor"] for g in muon.param_groups} == {0.02}
    wanted = torch.optim.AdamW(plan.param_groups(model, RATE, weight_decay=0.1, optimizer="adamw"), lr=RATE, betas=(0.8, 0.9))
    assert same_groups(adamw, wanted)
    step(model, *made)
    plan.audit(model, *made).raise_if_wrong()


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
    with pytest.raises(MutransferError, match=message):
        configure_optimizers(plan, model, lr, **settings)
