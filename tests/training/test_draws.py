"""Draws from generators that a forward pass makes, holds or seeds itself."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mutransfer.tasks import Stream, cross_entropy
from mutransfer.training import Program, Recipe, StackingWarning, train
from tests.training.networks import CLASSES, PROGRAMS, VECTORS, Square, by_hand, unplanned, vectors

RATES = (0.1, 0.2, 0.05)
pytestmark = pytest.mark.usefixtures("traced")


def recipe(**changes: Any) -> Recipe:
    task = vectors(validation=None, metrics={})
    return Recipe(**{"task": task, "steps": 6, "batch": 16, "optimizer": "sgd", **changes})


class Projecting(Square):
    """A network behind a random matrix that is drawn anew, always the same."""

    def drawn(self) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return torch.randn(5, 5, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cos(x @ self.drawn()))


class Seeding(Projecting):
    """A network that seeds torch's generator."""

    def drawn(self) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return torch.randn(5, 5, dtype=torch.float64)


class Filling(Projecting):
    """A network that fills a tensor from a generator."""

    def drawn(self) -> Tensor:
        matrix = torch.empty(5, 5, dtype=torch.float64)
        return nn.init.normal_(matrix, generator=torch.Generator().manual_seed(3))


class Holding(Projecting):
    """A network with noise from a generator that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)

    def drawn(self) -> Tensor:
        return torch.randn(5, 5, generator=self.generator, dtype=torch.float64)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize("kind", [Projecting, Seeding, Filling, Holding])
def test_own_generators_draw_the_same_in_every_program(kind: Any, program: Program) -> None:
    members = unplanned(kind, RATES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        found = train(members, recipe(), program=program).losses
    expected, _ = by_hand(members, recipe())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_own_draws_in_an_evaluation_or_a_loss_are_seen() -> None:
    def noisy(output: Tensor, targets: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(output.shape, generator=generator, dtype=output.dtype)
        return cross_entropy(output + noise, targets)

    for task in (
        vectors(metrics={"noisy": noisy}),
        vectors(loss=noisy, validation=None, metrics={}),
    ):
        with pytest.warns(StackingWarning, match="draws from a generator that it holds, makes or"):
            train(unplanned(Square, RATES), recipe(task=task))


class Dropping(Square):
    """A network that draws from torch's generator."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.2) + 0.1 * torch.randn_like(x))


def sampled(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * seed + step)
    rows = torch.randint(len(VECTORS), (size,), generator=generator)
    return VECTORS[rows], CLASSES[rows]


@pytest.mark.parametrize("program", [PROGRAMS[0], *PROGRAMS[2:]], ids=str)
def test_other_draws_are_stacked(program: Program) -> None:
    """Those of torch's generator, and those of the data."""
    task = Stream(name="sampled", batch=sampled, loss=cross_entropy)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackingWarning)
        found = train(unplanned(Dropping, RATES), recipe(task=task), program=program)
    assert found.losses.isfinite().all()
