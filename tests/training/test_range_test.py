"""The range test is one training at growing rates, and leaves the model as it was."""

import copy
import csv
import io
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.training import RangeTest, range_test
from tests.training.networks import Square, drawn, vectors

LOW, HIGH, STEPS = 2.0**-12, 2.0**2, 40


def model_and_plan(optimizer: str = "adamw") -> tuple[nn.Module, mt.Plan]:
    model = drawn(lambda: Square(16))
    plan = mt.plan(model, drawn(Square), optimizer=optimizer)
    plan.initialize(model)
    return model, plan


def ranged(optimizer: str = "adamw", **changes: Any) -> RangeTest:
    model, plan = model_and_plan(optimizer)
    values: dict[str, Any] = {"low": LOW, "high": HIGH, "steps": STEPS, "batch": 16}
    return range_test(model, plan, vectors(), **values | changes)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_losses_are_those_of_a_loop_by_hand(clip: float | None) -> None:
    model, plan = model_and_plan()
    found = ranged(clip=clip, weight_decay=0.1)
    optimizer = torch.optim.AdamW(plan.param_groups(model, LOW, weight_decay=0.1))
    start = [group["lr"] for group in optimizer.param_groups]
    losses = []
    for step, rows in enumerate(vectors().batches(0, STEPS, 16)[: len(found.losses)]):
        for group, lr in zip(optimizer.param_groups, start, strict=True):
            group["lr"] = lr * (HIGH / LOW) ** (step / (STEPS - 1))
        optimizer.zero_grad()
        loss = vectors().loss(model(vectors().inputs[rows]), vectors().targets[rows])
        loss.backward()
        if clip is not None:
            plan.clip_grad_norm_(model, clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(torch.tensor(found.losses), torch.tensor(losses), rtol=1e-6, atol=0)
    assert found.rates[0] == LOW and len(losses) > STEPS / 2


def test_the_model_stays_as_it_was() -> None:
    model, plan = model_and_plan()
    model.hidden.append(nn.Dropout(0.1))  # type: ignore[union-attr, operator]
    model(vectors().inputs).sum().backward()  # type: ignore[no-untyped-call]
    before, generator = copy.deepcopy(model), torch.get_rng_state()
    gradients = [tensor.grad.clone() for tensor in model.parameters() if tensor.grad is not None]
    range_test(model, plan, vectors(), batch=16)
    pairs = zip(model.parameters(), before.parameters(), gradients, strict=True)
    for tensor, old, gradient in pairs:
        assert torch.equal(tensor, old)
        assert tensor.grad is not None and torch.equal(tensor.grad, gradient)
    assert torch.equal(generator, torch.get_rng_state())


def test_the_suggestion_lies_between_standing_still_and_divergence() -> None:
    found = ranged("sgd", low=2.0**-14, high=2.0**10, steps=120)
    assert found.suggested is not None and 2.0**-8 < found.suggested < 2.0**4
    assert found.rates[-1] < 2.0**10 and len(found.rates) == len(found.losses)
    assert "suggested rate 2^" in str(found)


def test_a_loss_that_never_falls_has_no_suggestion() -> None:
    found = ranged("sgd", low=2.0**30, high=2.0**40)
    assert found.suggested is None and "no rate suggested" in str(found)


def squared(output: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error, of a loss of one's own."""
    return (output - targets).square().mean()


def test_batches_start_again_and_may_have_a_loss_of_their_own() -> None:
    model, plan = model_and_plan()
    task = vectors()
    pairs = [task.feed(0, 4, 16)[step] for step in range(4)]
    settings: dict[str, Any] = {"low": LOW, "high": HIGH, "steps": 4, "batch": 16}
    assert range_test(model, plan, pairs, **settings) == range_test(model, plan, task, **settings)
    longer = range_test(model, plan, iter(pairs), **settings | {"steps": 9})
    assert len(longer.losses) == 9
    wanted = [(inputs, torch.ones(16, 4).double()) for inputs, _ in pairs]
    assert range_test(model, plan, wanted, loss=squared, **settings).losses[0] > 0


def test_two_optimizers_keep_their_ratios() -> None:
    found = ranged("lion")
    assert found.suggested is not None
    both = ranged("muon-original+adamw", options={"adamw": {"betas": (0.8, 0.9)}})
    assert both.losses[0] == pytest.approx(found.losses[0]) and both.losses != found.losses


def test_it_travels_as_json_and_csv() -> None:
    found = ranged(steps=10)
    assert RangeTest.from_json(json.dumps(found.to_json(), allow_nan=False)) == found
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["rate"]) for row in rows] == list(found.rates)
    with pytest.raises(MutransferError, match="this is not a range test"):
        RangeTest.from_json({"rates": []})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 1.0, "high": 0.5}, "low=1.0, high=0.5: give two positive rates"),
        ({"low": 0.0}, "give two positive rates"),
        ({"data": []}, "range_test needs a task or at least one batch"),
        ({"data": [torch.ones(3)]}, "range_test needs a task or at least one batch"),
        ({"steps": 0}, "steps is 0"),
        ({"options": {"momentum": 1}}, "takes no option 'momentum'"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    model, plan = model_and_plan()
    data = changes.pop("data", vectors())
    with pytest.raises(MutransferError, match=message):
        range_test(model, plan, data, **changes)


def test_a_model_without_finite_loss_is_refused() -> None:
    model, plan = model_and_plan()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(MutransferError, match="the loss is nan before the first step"):
        range_test(model, plan, vectors(), batch=16)
