"""Every field of a recipe does what a loop written by hand does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks import Task, cross_entropy
from mutransfer.training import Recipe, Trained, schedule, train, train_one_by_one
from tests.training.networks import (
    CLASSES,
    VECTORS,
    Square,
    accuracy,
    assert_same,
    confidence,
    drawn,
    planned,
    vectors,
)

STEPS, BATCH, LR = 12, 16, 0.02
BOTH = pytest.mark.parametrize("how", [train, train_one_by_one])


def trained(how: Any, task: Task | None = None, **changes: Any) -> Trained:
    """Train one member, twice as wide as its base, by a recipe with these changes."""
    members = planned(lambda: Square(16), Square, "adamw", [LR], weight_decay=0.1)
    recipe = Recipe(task=task or vectors(), steps=STEPS, batch=BATCH, **changes)
    return how(members, recipe)  # type: ignore[no-any-return]


def by_hand(
    smoothing: float = 0.0, clip: float | None = None, **rates: Any
) -> tuple[Tensor, nn.Module]:
    """The same training as a user writes it: the losses, and the model afterwards."""
    model = drawn(lambda: Square(16))
    plan = mt.plan(model, drawn(Square))
    plan.initialize(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, LR, weight_decay=0.1))
    factors = schedule(rates.pop("schedule", "constant"), STEPS, **rates)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: [*factors, 0][step])
    task, losses = vectors(), []
    for rows in task.batches(3, STEPS, BATCH):
        optimizer.zero_grad()
        logits = model(task.inputs[rows])
        loss = F.cross_entropy(logits, task.targets[rows], label_smoothing=smoothing)
        loss.backward()
        if clip is not None:
            plan.clip_grad_norm_(model, clip)
        optimizer.step()
        scheduler.step()
        losses.append(loss.detach())
    return torch.stack(losses)[None], model


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@BOTH
@pytest.mark.parametrize(
    "how_else",
    [
        {},
        {"schedule": "cosine", "warmup": 3},
        {"schedule": "wsd"},
        {"clip": 0.3},
        {"label_smoothing": 0.2},
    ],
    ids=str,
)
def test_a_recipe_is_the_loop_that_a_user_writes(how: Any, how_else: dict[str, Any]) -> None:
    named = {"smoothing" if key == "label_smoothing" else key: v for key, v in how_else.items()}
    losses, model = by_hand(**named)
    found = trained(how, **how_else)
    assert_close(found.losses, losses)
    plain, _ = by_hand()
    assert bool((losses - plain).abs().max() > 1e-3) == bool(how_else)
    with torch.no_grad():
        output = model(VECTORS[:23])
    assert_close(found.validation[0, 0], F.cross_entropy(output, CLASSES[:23]))
    assert_close(found.metrics["accuracy"][0, 0], accuracy(output, CLASSES[:23]))
    assert_close(found.metrics["confidence"][0, 0], confidence(output, CLASSES[:23]))


@BOTH
def test_pieces_of_a_batch_are_the_batch(how: Any) -> None:
    whole, parts = trained(how, clip=0.3), trained(how, clip=0.3, accumulate=8)
    assert_same(parts, whole)


@BOTH
def test_evaluations_come_at_their_steps_and_at_the_end(how: Any) -> None:
    every, fifth, end = (trained(how, evaluate=steps) for steps in (1, 5, None))
    assert every.evaluations == tuple(range(1, STEPS + 1))
    assert fifth.evaluations == (5, 10, STEPS) and end.evaluations == (STEPS,)
    assert torch.equal(fifth.validation, every.validation[:, [4, 9, 11]])
    assert torch.equal(end.metrics["accuracy"], every.metrics["accuracy"][:, -1:])
    assert torch.equal(every.losses, end.losses)


@BOTH
def test_without_validation_data_nothing_is_evaluated(how: Any) -> None:
    found = trained(how, vectors(validation=None))
    assert found.evaluations == () and found.validation.shape == (1, 0)
    assert {name: values.shape for name, values in found.metrics.items()} == {
        "accuracy": (1, 0),
        "confidence": (1, 0),
    }


def test_norms_are_those_of_explicit_multipliers() -> None:
    """Clipping would not see the form otherwise: here it has multipliers to see."""
    (member,) = planned(lambda: Square(16), Square, "adamw", [LR])
    assert {row.multiplier for row in member.table.values()} > {1.0}
    blind = {name: replace(row, multiplier=1.0) for name, row in member.table.items()}
    recipe = Recipe(task=vectors(), steps=STEPS, batch=BATCH, clip=0.3)
    for how in (train, train_one_by_one):
        seeing, other = how([member], recipe), how([replace(member, table=blind)], recipe)
        assert (seeing.losses - other.losses).abs().max() > 1e-4


@BOTH
def test_the_threshold_is_the_plans_share_of_the_recipes(how: Any) -> None:
    (member,) = planned(lambda: Square(16), Square, "sgd", [0.1])
    task = vectors()

    def losses(factor: float, clip: float) -> Tensor:
        recipe = Recipe(task=task, steps=STEPS, batch=BATCH, optimizer="sgd", clip=clip)
        return how([replace(member, clip=factor)], recipe).losses  # type: ignore[no-any-return]

    assert torch.equal(losses(0.5, 0.4), losses(1.0, 0.2))
    assert not torch.equal(losses(0.5, 0.4), losses(1.0, 0.4))


class Named(nn.Module):
    """A network with named inputs and an output of several values."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Square()

    def forward(self, *, x: Tensor, scale: Tensor) -> tuple[None, dict[str, Tensor]]:
        return None, {"classes": self.body(x * scale)}


@BOTH
def test_inputs_may_be_named_and_outputs_nested(how: Any) -> None:
    scale = torch.ones(96, 1, dtype=torch.float64)
    named = {"x": VECTORS, "scale": scale}
    task = vectors(
        inputs={key: value[23:] for key, value in named.items()},
        validation=({key: value[:23] for key, value in named.items()}, CLASSES[:23]),
    )
    (member,) = planned(Square, Square, "adamw", [LR])
    model = Named().double()
    model.body.load_state_dict(member.model.state_dict())
    table = {f"body.{name}": row for name, row in member.table.items()}
    other = replace(member, model=model, table=table)
    recipe = Recipe(task=vectors(), steps=STEPS, batch=BATCH, clip=0.3, accumulate=2, evaluate=5)
    assert_same(how([other], replace(recipe, task=task)), how([member], recipe))


def squared(output: Any, targets: Tensor) -> Tensor:
    """The mean squared error."""
    return F.mse_loss(output, targets)


@BOTH
def test_regression_needs_nothing_but_its_loss(how: Any) -> None:
    wanted = VECTORS @ torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).double()
    task = vectors(targets=wanted[23:], validation=(VECTORS[:23], wanted[:23]), loss=squared)
    found = trained(how, replace(task, metrics={"error": squared}))
    torch.testing.assert_close(found.metrics["error"], found.validation)
    assert found.losses[0, -1] < found.losses[0, 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Endless:
    """A stream: batches made step by step, of nothing that is held."""

    name: str = "endless"
    mapping: bool = False
    validation: Any = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    loss: Any = cross_entropy

    def feed(self, seed: int, steps: int, batch: int) -> Any:
        task = vectors()
        batches = {step: task.feed(seed, steps, batch)[step] for step in range(steps)}
        if self.mapping:
            return {step: ({"x": inputs}, targets) for step, (inputs, targets) in batches.items()}
        return batches


@pytest.mark.parametrize("mapping", [False, True])
@BOTH
def test_a_stream_trains_as_its_data_held(how: Any, mapping: bool) -> None:
    members = planned(Square, Square, "sgd", [1e200, 1e200, 0.2, 0.1, 0.05])
    recipe = Recipe(task=vectors(validation=None), steps=50, batch=BATCH, optimizer="sgd")
    streamed = replace(recipe, task=Endless(mapping=mapping))  # type: ignore[arg-type]
    held = replace(how(members, recipe), metrics={})
    assert_same(how(members, streamed), held)
