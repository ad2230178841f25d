"""A run has diverged where it is far worse than its network before training, on any batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mutransfer.statistics import diverged_at
from mutransfer.tasks import Stream, Task
from mutransfer.training import Program, Recipe, Trained, train, train_one_by_one
from mutransfer.training._divergence import Divergence
from tests.training.networks import unplanned

LOSSES = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(st.lists(LOSSES, min_size=1, max_size=20))
def test_of_batches_that_are_alike_the_first_loss_decides(losses: list[float]) -> None:
    found = Divergence(lambda step: losses[0]).at(np.array(losses))
    assert found == diverged_at(np.array([losses]))[0]


@given(st.lists(LOSSES, min_size=1, max_size=20))
def test_a_network_that_does_not_train_never_diverges(losses: list[float]) -> None:
    finite = [loss for loss in losses if np.isfinite(loss)]
    if finite:
        untrained = [*finite, *[np.nan] * 20].__getitem__
        assert Divergence(untrained).at(np.array(finite)) is None


def test_what_is_not_finite_has_diverged() -> None:
    for last in (np.nan, np.inf):
        assert Divergence(lambda step: 1e9).at(np.array([1.0, 200.0, last])) == 2


def test_the_batch_of_the_step_counts() -> None:
    hard = [0.01, *[1.0] * 8, 50.0, 50.0]
    losses = np.array([0.01, *[1.0] * 8, 100.0, 200.0])
    assert Divergence(hard.__getitem__).at(losses) is None
    assert Divergence(hard.__getitem__).at(50 * losses) == 10
    assert Divergence(lambda step: 0.01).at(losses) == 9


def test_the_first_batches_count() -> None:
    """The batch of the step in doubt may be an easy one, too."""
    untrained, losses = np.ones(20), np.full(20, 0.1)
    untrained[[0, 12]] = losses[0] = 0.01
    losses[12] = 5.0
    assert Divergence(untrained.__getitem__).at(losses) is None
    losses[12] = 200.0
    assert Divergence(untrained.__getitem__).at(losses) == 12


INPUTS = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
REGRESSION = Task(
    name="regression", inputs=INPUTS, targets=INPUTS.sum(1, keepdim=True), loss=F.mse_loss
)


def growing(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    """Return a batch of a curriculum, whose targets grow over a hundred steps."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + step)
    x = torch.randn(size, 8, generator=generator)
    return x, min(1.0, (1 + step) / 100) * x.sum(1, keepdim=True)


CURRICULUM = Stream(name="curriculum", batch=growing, loss=F.mse_loss)


def network() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    return model


def trained(task: Any, batch: int, rates: list[float], program: Program | None) -> Trained:
    """Train networks at some rates and two seeds each, by Adam."""
    recipe = Recipe(task=task, steps=120, batch=batch, optimizer="adam")
    members = [
        replace(member, seed=seed) for seed in EASY for member in unplanned(network, rates, "adam")
    ]
    if program is None:
        return train_one_by_one(members, recipe)
    return train(members, recipe, program=program)


def first_target(seed: int) -> float:
    return abs(float(REGRESSION.targets[REGRESSION.batches(seed, 1, 1)[0, 0]]))


EASY = sorted(range(100), key=first_target)[:2]
"""Seeds whose first example is the easiest."""

WAYS = pytest.mark.parametrize("program", [None, Program(), Program(slots=3)], ids=str)


@WAYS
@pytest.mark.parametrize(("task", "batch"), [(REGRESSION, 1), (CURRICULUM, 32)])
def test_an_easy_first_batch_makes_no_divergence(
    task: Any, batch: int, program: Program | None
) -> None:
    result = trained(task, batch, [2.0**-10, 2.0**-8], program)
    first = diverged_at(result.losses.numpy())
    assert any(step is not None for step in first), "no first batch is easy"
    assert result.diverged == [None] * 4
    assert result.losses.isfinite().all()


@WAYS
@pytest.mark.parametrize(("task", "batch"), [(REGRESSION, 1), (CURRICULUM, 32)])
def test_rates_that_are_too_large_diverge(task: Any, batch: int, program: Program | None) -> None:
    result = trained(task, batch, [2.0**-8, 2.0**6], program)
    small, large = result.diverged[::2], result.diverged[1::2]
    assert small == [None, None]
    assert all(step is not None and step < 20 for step in large)
    # The training of such a run ends.
    assert result.losses[1::2, -1].isnan().all()
