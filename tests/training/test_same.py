"""Stacked and one by one are one training, whatever the recipe asks for."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer.tasks import cross_entropy
from mutransfer.training import SCHEDULES, UPDATES, Recipe, train, train_one_by_one
from tests.models import normed_convolution
from tests.optimizers import MUON
from tests.training.networks import CLASSES, VECTORS, Square, assert_same, planned, vectors

STEPS = 24
BADLY = {"adam", "amsgrad", "nadam", "radam", "adagrad", "rmsprop", "adamax"}
"""Families whose weight decay no rule makes right: plans refuse it."""

MATRICES = {"muon-original", "muon-match-rms", "soap", "shampoo"}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"momentum": 0.9}, {"momentum": 0.8, "nesterov": True}],
    "adagrad": [{"lr_decay": 0.1, "initial_accumulator_value": 0.01}],
    "rmsprop": [{"momentum": 0.8}, {"centered": True, "alpha": 0.9}],
    "nadam": [{"momentum_decay": 0.02, "betas": (0.8, 0.95)}],
    "radam": [{"betas": (0.8, 0.9)}],
    "lion": [{"betas": (0.8, 0.9)}],
    "soap": [{"precondition_frequency": 3, "shampoo_beta": 0.8}],
}
OPTIMIZERS = [
    pytest.param(
        family if family not in MATRICES else f"{family}+adamw",
        options,
        marks=MUON if family.startswith("muon") else (),
    )
    for family in UPDATES
    for options in [{}, *OPTIONS.get(family, [])]
]


def of_family(optimizer: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options by family, where two share the work."""
    return {optimizer.split("+")[0]: options} if "+" in optimizer and options else options


def half(step: int, steps: int) -> float:
    """A schedule of one's own."""
    return 1.0 if step < steps / 2 else 0.5


RATES = {
    "sgd": 0.1,
    "adagrad": 0.05,
    "lion": 0.003,
    "shampoo+adamw": 0.05,
    "rmsprop": 0.003,
    "soap+adamw": 0.003,
}
EVERYTHING: dict[str, Any] = {
    "schedule": "cosine",
    "warmup": 0.25,
    "clip": 0.3,
    "label_smoothing": 0.1,
    "accumulate": 4,
    "evaluate": 7,
}


def compared(optimizer: str, options: dict[str, Any], rtol: float = 1e-12, **how: Any) -> None:
    """Train by both programs, at another size than the base's, and compare."""
    lr = RATES.get(optimizer, 0.01)
    decay = {} if BADLY & set(optimizer.split("+")) else {"weight_decay": 0.02}
    # Eigenvectors of small gaps would enlarge the rounding of SOAP: its matrices are smaller.
    width, base = (5, 4) if "soap" in optimizer else (12, 8)
    members = planned(
        lambda: Square(width), lambda: Square(base), optimizer, [lr, 2 * lr, lr], **decay
    )
    recipe = Recipe(
        task=vectors(),
        steps=STEPS,
        batch=16,
        optimizer=optimizer,
        options=of_family(optimizer, options),
        **how,
    )
    stacked, alone = train(members, recipe), train_one_by_one(members, recipe)
    assert stacked.losses.isfinite().all() and stacked.validation.isfinite().all()
    assert len({tuple(row.tolist()) for row in stacked.losses}) == len(members)
    assert (stacked.losses[:, -4:].mean(1) < stacked.losses[:, :4].mean(1)).all()
    assert_same(stacked, alone, rtol)


@pytest.mark.usefixtures("exact_muon")
@pytest.mark.parametrize("how", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
def test_every_optimizer(optimizer: str, options: dict[str, Any], how: dict[str, Any]) -> None:
    compared(optimizer, options, **how)


@pytest.mark.parametrize("warmup", [0, 5, 0.5])
@pytest.mark.parametrize("schedule", [*SCHEDULES, half])
def test_every_schedule(schedule: Any, warmup: float) -> None:
    compared("adamw", {}, schedule=schedule, warmup=warmup)


@pytest.mark.parametrize(
    "how",
    [
        {"clip": 0.2},
        {"clip": 1e6},
        {"label_smoothing": 0.2},
        {"accumulate": 2},
        {"accumulate": 16},
        {"evaluate": 1},
        {"evaluate": 1000},
        {"precision": "float64"},
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_field_alone(optimizer: str, how: dict[str, Any]) -> None:
    compared(optimizer, {}, **how)


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-4), ("bfloat16", 2**-5)])
def test_lower_precision_is_equal_to_its_rounding(precision: str, rtol: float) -> None:
    members = planned(lambda: Square(12), Square, "sgd", [0.1, 0.05])
    recipe = Recipe(task=vectors(), steps=8, batch=16, optimizer="sgd", precision=precision)
    exact = Recipe(task=vectors(), steps=8, batch=16, optimizer="sgd")
    stacked, alone = train(members, recipe), train_one_by_one(members, recipe)
    assert_same(stacked, alone, rtol)
    # It is another precision than the model's own, double, and not another training.
    difference = (stacked.losses - train(members, exact).losses).abs().max()
    assert 1e-9 < difference < 0.1


def test_buffers_are_those_of_each_member_and_evaluations_leave_them() -> None:
    images = torch.randn(48, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    targets = images.mean((2, 3)).argmax(1)
    task = vectors(inputs=images, targets=targets, validation=(images[:20], targets[:20]))
    build = normed_convolution
    members = planned(build, build, "sgd", [0.1, 0.2, 0.1])
    every, once = (
        Recipe(task=task, steps=12, batch=16, optimizer="sgd", accumulate=2, evaluate=evaluate)
        for evaluate in (1, None)
    )
    assert_same(train(members, every), train_one_by_one(members, every))
    often, seldom = train(members, every), train(members, once)
    assert torch.equal(often.losses, seldom.losses)
    assert torch.equal(often.validation[:, -1:], seldom.validation)


class Normed(Square):
    """A network with batch norm and dropout, which are others in evaluation."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.norm, self.drop = nn.BatchNorm1d(5), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(super().forward(self.norm(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("how", [train, train_one_by_one])
def test_evaluations_are_in_evaluation_mode(how: Any) -> None:
    """At a rate of zero only the averages of the norm move, and nothing is dropped."""
    (member,) = planned(Normed, Normed, "sgd", [1e-300])
    recipe = Recipe(task=vectors(), steps=6, batch=16, optimizer="sgd", evaluate=2)
    found = how([member], recipe)
    model = copy.deepcopy(member.model)
    for rows in vectors().batches(member.seed, 6, 16):
        model(vectors().inputs[rows])
    wanted = cross_entropy(model.eval()(VECTORS[:23]), CLASSES[:23]).detach()
    torch.testing.assert_close(found.validation[0, -1], wanted, rtol=1e-12, atol=0)
    assert member.model.training and member.model.drop.training  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [train, train_one_by_one])
def test_a_diverged_member_is_not_evaluated_any_more(how: Any) -> None:
    members = planned(lambda: Square(12), Square, "sgd", [0.1, 1e200])
    recipe = Recipe(task=vectors(), steps=60, batch=16, optimizer="sgd", evaluate=30)
    trained = how(members, recipe)
    assert trained.evaluations == (30, 60)
    assert trained.validation[0].isfinite().all() and trained.validation[1].isnan().all()
    assert trained.metrics["accuracy"][1].isnan().all()
