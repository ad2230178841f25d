"""Evaluations leave training as it is, and the one before it leaves nothing at all."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer import MutransferError
from mutransfer.tasks import Stream, cross_entropy
from mutransfer.training import Program, Recipe, Trained, train, train_one_by_one
from tests.training.networks import (
    CLASSES,
    VECTORS,
    Square,
    assert_same,
    by_hand,
    unplanned,
    vectors,
)

RATES = [0.1, 0.05, 0.2]
PROGRAMS = pytest.mark.parametrize(
    "program", [Program(), Program(slots=2), Program(slots=1)], ids=str
)


def recipe(**changes: Any) -> Recipe:
    data = VECTORS[:23].clone(), CLASSES[:23].clone()
    values: dict[str, Any] = {"task": vectors(validation=data, metrics={}), "steps": 12}
    values |= {"batch": 16, "optimizer": "sgd", "evaluate": 5}
    return Recipe(**values | changes)


class Scaling(Square):
    """A network whose first batch decides a scale, as in ActNorm."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.scale, self.is_set = nn.Parameter(torch.ones(4)), False

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if not self.is_set:
            self.is_set = True
            with torch.no_grad():
                self.scale.copy_(10 * x.std(0))
        return x * self.scale


class Counting(Square):
    """A network that counts its evaluations in a buffer and in a parameter."""

    count: Tensor

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.register_buffer("count", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.count += 1
            with torch.no_grad():
                self.scale.mul_(1.01)
        return super().forward(x) * (1 + 0.1 * self.count) * self.scale


class Normed(Square):
    """A network that normalises by the batch in evaluation, too."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.norm = nn.BatchNorm1d(5, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class Halving(Square):
    """A network that changes its inputs in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.div_(2.0))


class Penalised(Square):
    """A network whose output tells of all parameters that are trained."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.hidden[1].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        trained = [p.square().sum() for p in self.parameters() if p.requires_grad]
        return super().forward(x) * (1 + 0.01 * sum(trained))


def assert_by_hand(found: Trained, expected: tuple[Tensor, Tensor]) -> None:
    losses, validation = expected
    torch.testing.assert_close(found.losses, losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.validation, validation, rtol=1e-12, atol=0)


@PROGRAMS
@pytest.mark.parametrize("kind", [Counting, Normed, Halving, Penalised])
def test_evaluations_are_those_of_a_loop_by_hand(
    kind: Callable[[], nn.Module], program: Program
) -> None:
    members, how = unplanned(kind, RATES), recipe()
    expected = by_hand(members, how)
    assert_by_hand(train(members, how, program=program), expected)
    assert_by_hand(train_one_by_one(members, how), expected)
    assert how.task.validation is not None
    for data, kept in zip(how.task.validation, (VECTORS, CLASSES), strict=True):
        assert isinstance(data, Tensor) and torch.equal(data, kept[:23])


@pytest.mark.parametrize("slots", [1, 3])
def test_the_first_batch_is_of_training(slots: int) -> None:
    members = unplanned(Scaling, RATES)
    found = train(members, recipe(), program=Program(slots=slots))
    assert_by_hand(found, by_hand(members, recipe()))


@pytest.mark.parametrize("slots", [2, 3])
def test_evaluations_leave_members_that_are_not_due(slots: int) -> None:
    """The first member ends at step 20, and the last follows it 20 steps behind the others."""
    members, how = unplanned(Counting, [1e200, *RATES]), recipe(steps=30, evaluate=7)
    found = train(members, how, program=Program(slots=slots))
    assert_by_hand(
        replace(found, losses=found.losses[1:], validation=found.validation[1:]),
        by_hand(members[1:], how),
    )


def test_the_evaluation_before_the_training_draws_nothing() -> None:
    class Drawing(Square):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + 0.1 * torch.rand(4, dtype=x.dtype))

    members, how = unplanned(Drawing, RATES[:1]), recipe()
    torch.manual_seed(0)
    expected = by_hand(members, how)
    for program in (Program(slots=1), Program(), None):
        torch.manual_seed(0)
        found = train(members, how, program=program) if program else train_one_by_one(members, how)
        assert_by_hand(found, expected)


@pytest.mark.parametrize("slots", [1, 3])
def test_a_last_piece_that_is_too_small_costs_no_training(slots: int) -> None:
    how = recipe(task=vectors(validation=(VECTORS[:17], CLASSES[:17]), metrics={}))
    steps: list[int] = []
    with pytest.raises(MutransferError, match="step 0 with ValueError: Expected more than 1 value"):
        train(unplanned(Normed, RATES), how, steps.append, program=Program(slots=slots))
    assert steps == []


def test_a_stream_keeps_its_tensors() -> None:
    inputs, targets = VECTORS[:16].clone(), CLASSES[:16].clone()

    def loss(output: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(output, wanted.bitwise_and_(2))

    def batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        return inputs[:size], targets[:size]

    stream = Stream(name="kept", batch=batch, loss=loss)
    members, how = unplanned(Halving, RATES), recipe(task=stream, evaluate=None)
    assert_same(train_one_by_one(members, how), train(members, how))
    assert torch.equal(inputs, VECTORS[:16]) and torch.equal(targets, CLASSES[:16])
