"""Layers that only some steps use: torch leaves them as they are in the others."""

import copy
import random
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer.pytorch import parameter_groups
from mutransfer.tasks import Task
from mutransfer.training import Member, Program, Recipe, StackingWarning, train
from tests.training.networks import PROGRAMS, Square, planned, vectors

OPTIMIZERS: dict[str, tuple[Any, dict[str, float]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
pytestmark = pytest.mark.usefixtures("traced")


def recipe(optimizer: str) -> Recipe:
    task = vectors(validation=None, metrics={})
    options = OPTIMIZERS[optimizer][1]
    return Recipe(task=task, steps=9, batch=16, optimizer=optimizer, options=options)


def by_torch(members: Sequence[Member], how: Recipe) -> Tensor:
    """Return losses of members, as a user trains them."""
    task, losses = how.task, []
    assert isinstance(task, Task) and isinstance(task.inputs, Tensor)
    kind, options = OPTIMIZERS[how.optimizer]
    for member in members:
        model = copy.deepcopy(member.model)
        groups = parameter_groups(member.table, dict(model.named_parameters()))
        optimizer = kind(groups, **options)
        for rows in task.batches(member.seed, how.steps, how.batch):
            optimizer.zero_grad()
            loss = task.loss(model(task.inputs[rows]), task.targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
    return torch.stack(losses).view(len(members), -1)


class Third(Square):
    """A network that uses one of its layers at every third pass."""

    passes = 0

    def is_whole(self) -> bool:
        self.passes += 1
        return self.passes % 3 == 0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.hidden[0](torch.tanh(self.input(x))))
        return self.readout(torch.tanh(self.hidden[1](x)) if self.is_whole() else x)


class Late(Third):
    """A network that uses all layers at first, and at last."""

    def is_whole(self) -> bool:
        self.passes += 1
        return self.passes % 7 < 5


class Dropping(Third):
    """A network that Python drops layers of at random."""

    def is_whole(self) -> bool:
        return random.random() < 0.6


@pytest.mark.parametrize(
    ("optimizer", "weight_decay"),
    [("sgd", None), ("sgd", 0.1), ("adam", None), ("adamw", None), ("adamw", 0.1)],
)
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize("kind", [Third, Late, Dropping])
def test_unused_layers_stay_as_they_are(
    kind: Any, program: Program, optimizer: str, weight_decay: float | None
) -> None:
    how = recipe(optimizer)
    members = planned(kind, kind, optimizer, [0.05, 0.02, 0.03], weight_decay=weight_decay)
    random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        found = train(members, how, program=program).losses
    random.seed(0)
    torch.testing.assert_close(found, by_torch(members, how), rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", [Third, Late])
def test_the_warning_names_a_parameter_that_is_left_out(kind: Any) -> None:
    members = planned(kind, kind, "adam", [0.05, 0.02])
    message = r"hidden\.1\.\w+ gets no gradient in some steps, in which torch would leave .* is\)$"
    with pytest.warns(StackingWarning, match=message):
        train(members, recipe("adam"))


class Spare(Square):
    """A network with a layer that no step uses, and one whose readout is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(8, 8)
        nn.init.zeros_(self.readout.weight)


class Counting(Square):
    """A network that counts, and uses all layers."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x) * min(1.0, self.passes / 20)


@pytest.mark.parametrize(
    ("kind", "program"),
    [(Counting, PROGRAMS[0]), *((Spare, program) for program in PROGRAMS)],
    ids=str,
)
def test_what_all_steps_use_alike_is_stacked(kind: Any, program: Program) -> None:
    """Also what none uses: it does not matter whether an optimizer moves it."""
    members, how = planned(kind, kind, "adamw", [0.05, 0.02], weight_decay=0.1), recipe("adamw")
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackingWarning)
        found = train(members, how, program=program).losses
    torch.testing.assert_close(found, by_torch(members, how), rtol=1e-10, atol=0)
