"""Stacked Muon updates equal those of torch.optim.Muon, beside AdamW on other tensors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.core import MutransferError
from mutransfer.statistics import diverged_at
from mutransfer.tasks import Task, cross_entropy, gpt, mlp, resmlp
from mutransfer.training import Member, Recipe, train, train_one_by_one

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(96, 5, generator=GENERATOR, dtype=torch.float64)
TOKENS = torch.randint(11, (64, 7), generator=GENERATOR)
VECTOR_TASK = Task(
    name="vectors", inputs=VECTORS, targets=VECTORS[:, :4].argmax(1), loss=cross_entropy
)
TOKEN_TASK = Task(name="tokens", inputs=TOKENS[:, :-1], targets=TOKENS[:, 1:], loss=cross_entropy)
IMAGES = torch.randn(64, 3, 6, 6, generator=GENERATOR, dtype=torch.float64)
IMAGE_TASK = Task(
    name="images",
    inputs=IMAGES,
    targets=IMAGES.mean((2, 3)).argmax(1),
    loss=cross_entropy,
)


def convolutions(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 3),
    )


MODELS: dict[str, tuple[Callable[[int], nn.Module], Task]] = {
    "mlp": (lambda width: mlp(width, 4, inputs=5, outputs=4), VECTOR_TASK),
    "large mlp": (lambda width: mlp(8 * width, 3, inputs=5, outputs=4), VECTOR_TASK),
    "residual mlp": (lambda width: resmlp(width, 3, inputs=5, outputs=4), VECTOR_TASK),
    "convolutions": (convolutions, IMAGE_TASK),
    "gpt": (lambda width: gpt(width, 2, heads=2, vocabulary=11, context=6), TOKEN_TASK),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no nesterov": {"momentum": 0.8, "nesterov": False},
    "other iteration": {"ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5)},
}
CONVENTIONS = ("muon-original", "muon-match-rms")


def built(build: Callable[[int], nn.Module], width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(width).double()


def members(build: Callable[[int], nn.Module], optimizer: str, rule: str = "mup") -> list[Member]:
    """Return members whose rates, decays, seeds and draws differ."""
    listed = []
    for number, power in enumerate((-9, -7, -5)):
        model, base = built(build, 24, number), built(build, 16, 0)
        plan = mt.plan(model, base, rule=rule, optimizer=optimizer)
        plan.initialize(model)
        table = plan.table(model, 2.0**power, weight_decay=0.1 * number)
        listed.append(Member(model=model, table=table, seed=number % 2))
    return listed


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("case", MODELS)
def test_muon_and_adamw_train_as_torch_does(
    case: str, convention: str, options: dict[str, Any], exact_muon: None
) -> None:
    (build, task), optimizer = MODELS[case], f"{convention}+adamw"
    recipe = Recipe(
        task=task,
        steps=12,
        batch=16,
        optimizer=optimizer,
        options={convention: options, "adamw": {"betas": (0.8, 0.9)}},
    )
    stacked = members(build, optimizer)
    families = {row.optimizer for row in stacked[0].table.values()}
    assert families == {convention, "adamw"}
    losses, alone = train(stacked, recipe).losses, train_one_by_one(stacked, recipe).losses
    assert diverged_at(losses.numpy()) == [None] * 3
    torch.testing.assert_close(losses, alone, rtol=1e-12, atol=0)


def matrices(width: int) -> nn.Module:
    """A model that Muon can train alone."""
    sizes = ((5, width), (width, width), (width, 4))
    return nn.Sequential(*(nn.Linear(n, m, bias=False) for n, m in sizes))


def test_muon_trains_a_model_of_matrices_alone(exact_muon: None) -> None:
    recipe = Recipe(task=VECTOR_TASK, steps=12, batch=16, optimizer="muon-original")
    alike = members(matrices, "muon-original", rule="sp")
    losses, alone = train(alike, recipe).losses, train_one_by_one(alike, recipe).losses
    torch.testing.assert_close(losses, alone, rtol=1e-12, atol=0)


def test_kernels_with_channels_last_train_as_any(exact_muon: None) -> None:
    recipe = Recipe(task=IMAGE_TASK, steps=4, batch=16, optimizer="muon-original+adamw")
    alike = members(convolutions, recipe.optimizer)
    losses = train(alike, recipe).losses
    for member in alike:
        member.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for found in (train(alike, recipe), train_one_by_one(alike, recipe)):
        torch.testing.assert_close(found.losses, losses, rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", MODELS)
def test_in_bfloat16_losses_differ_by_its_rounding_at_most(case: str) -> None:
    """Torch orthogonalises in bfloat16, in which two gradients one bit apart may differ by 2^-8.

    Losses are equal to rounding in double precision until that first happens to an entry.
    """
    (build, task), optimizer = MODELS[case], "muon-original+adamw"
    recipe = Recipe(task=task, steps=12, batch=16, optimizer=optimizer)
    alike = members(build, optimizer)
    losses, alone = train(alike, recipe).losses, train_one_by_one(alike, recipe).losses
    torch.testing.assert_close(losses, alone, rtol=2**-8, atol=0)
    equal = torch.isclose(losses, alone, rtol=1e-12, atol=0)
    assert equal[:, :2].all() and equal.double().mean() > 0.5


def test_the_conventions_differ_by_a_factor_of_the_rate(exact_muon: None) -> None:
    """The factor is 0.2 sqrt(width) for square matrices, here without weight decay."""
    build, steps = MODELS["mlp"][0], 6
    losses = []
    for convention, rate in (("muon-original", 0.2 * 4.0), ("muon-match-rms", 1.0)):
        model = built(build, 16, 0)
        plan = mt.plan(model, model, optimizer=f"{convention}+adamw")
        table = plan.table(model, 2.0**-6, weight_decay=0.0)
        table |= {
            name: replace(row, lr=rate * row.lr)
            for name, row in table.items()
            if row.optimizer == convention
        }
        optimizer = f"{convention}+adamw"
        recipe = Recipe(task=VECTOR_TASK, steps=steps, batch=16, optimizer=optimizer)
        losses.append(train([Member(model=model, table=table, seed=0)], recipe).losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)


def planned_for(optimizer: str) -> list[Member]:
    return members(MODELS["mlp"][0], optimizer)


@pytest.mark.parametrize(
    ("given", "optimizer", "message"),
    [
        ("sgd", "adamw", "planned for sgd, but the recipe trains with adamw"),
        ("muon+adamw", "muon-original+adamw", "planned for muon, but the recipe trains with"),
        ("muon-original+adamw", "adamw", "planned for muon-original, but the recipe trains with"),
    ],
)
@pytest.mark.parametrize("how", [train, train_one_by_one])
def test_a_recipe_of_another_optimizer_than_the_plan_is_refused(
    given: str, optimizer: str, message: str, how: Callable[..., Any]
) -> None:
    recipe = Recipe(task=VECTOR_TASK, steps=1, batch=16, optimizer=optimizer)
    alike = planned_for(given) if given != "muon+adamw" else bare()
    with pytest.raises(MutransferError, match=message):
        how(alike, recipe)


def bare() -> list[Member]:
    """Members planned for the bare Muon, whose update is multiplied by nothing."""
    model = built(MODELS["mlp"][0], 16, 0)
    plan = mt.plan(model, model, optimizer="muon+adamw")
    first = plan.table(model, 0.1, eps=1e-7, optimizer="muon")
    return [Member(model=model, table=first | plan.table(model, 0.1, optimizer="adamw"), seed=0)]


def test_members_of_one_stack_agree_on_each_tensors_optimizer() -> None:
    first, second, _ = planned_for("muon-original+adamw")
    name = next(n for n, row in second.table.items() if row.optimizer == "muon-original")
    changed = replace(second.table[name], optimizer="adamw")
    mixed = replace(second, table={**second.table, name: changed})
    recipe = Recipe(task=VECTOR_TASK, steps=1, batch=16, optimizer="muon-original+adamw")
    with pytest.raises(MutransferError, match=f"{name} is trained by adamw and muon-original"):
        train([first, mixed], recipe)


def test_a_table_and_its_parameter_groups_are_one() -> None:
    model, base = built(MODELS["mlp"][0], 24, 0), built(MODELS["mlp"][0], 16, 0)
    plan = mt.plan(model, base, optimizer="muon-original+adamw")
    table = plan.table(model, 0.5, weight_decay=0.2)
    assert list(table) == list(plan.tensors)
    grouped = {}
    for family in plan.optimizers:
        for group in plan.param_groups(model, 0.5, weight_decay=0.2, optimizer=family):
            values = {key: value for key, value in group.items() if key not in ("params", "names")}
            grouped |= dict.fromkeys(group["names"], values)
    assert {name: row.group() for name, row in table.items()} == grouped
    with pytest.raises(MutransferError, match="say whose groups you want"):
        plan.param_groups(model, 0.5)
