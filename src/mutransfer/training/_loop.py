"""Training one by one: an ordinary loop with torch's own optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from torch import Tensor

from ..core import MutransferError, fault
from ._criterion import alone
from ._divergence import Divergence, divergences_of
from ._environment import CHECK_EVERY, surroundings
from ._judge import Judge
from ._members import Member, check_members
from ._one import Data, One, apart
from ._recipe import Recipe
from ._sharing import capturing
from ._trained import Trained
from ._watch import Interrupted, Watch


def train_one_by_one(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None = None
) -> Trained:
    """Train as `train` does, one member after the other, with torch's own optimizers.

    Losses equal those of `train` to rounding, unless the model itself draws while it trains, as
    dropout does.

    Args:
        members: Configurations of one shape.
        recipe: What they share.
        watch: Receives progress.

    Returns:
        The losses, as `train`.

    Raises:
        MutransferError: there are no members, a tensor has no hyperparameters, or the model fails.
    """
    check_members(members, recipe)
    with surroundings(largest_tensor(members)):
        return each(members, recipe, watch)


def largest_tensor(members: Sequence[Member]) -> int:
    """Return the entries of the largest trained parameter of a member."""
    return max(p.numel() for p in members[0].model.parameters() if p.requires_grad)


def each(
    members: Sequence[Member],
    recipe: Recipe,
    watch: Watch | None = None,
    judge: Judge | None = None,
) -> Trained:
    """Train members one after the other, threads and attention as they are."""
    trained, data = Trained.empty(len(members), recipe), Data(members, recipe)
    divergences = divergences_of(members, recipe, data.batches)
    for number, member in enumerate(members):
        one, divergence = One(member, recipe, data, number), divergences[number]
        try:
            _train(number, one, trained, divergence, watch, judge)
            if trained.stopped[number] is None:
                trained.diverged[number] = divergence.at(trained.losses[number].numpy())
        except Interrupted:
            first = number + bool(trained.so_far()[1][number] == recipe.steps)
            trained.unfinished.update(range(first, len(members)))
            break
    return trained


def _train(
    number: int,
    one: One,
    trained: Trained,
    divergence: Divergence,
    watch: Watch | None,
    judge: Judge | None,
) -> None:
    """Train one member, and write its losses and evaluations."""
    losses = trained.losses[number]
    # Kept where the model is: reading a loss waits for the device.
    kept = losses.to(one.device)
    try:
        for step, factor in enumerate(one.recipe.factors()):
            _step(number, one, step, factor, kept, trained)
            if watch is not None:
                watch(1)
            if (step + 1) % CHECK_EVERY or step + 1 == one.recipe.steps:
                continue
            losses.copy_(kept)
            if divergence.at(losses[: step + 1].numpy()) is not None:
                return
            if judge is not None and number in judge(*trained.so_far()):
                trained.stopped[number] = step + 1
                return
    finally:
        losses.copy_(kept)


def _step(
    number: int, one: One, step: int, factor: float, losses: Tensor, trained: Trained
) -> None:
    """Train one step, and evaluate where it is due."""
    try:
        with nullcontext() if step else _first_step(number, one):
            losses[step] = one.step(step, factor)
        if (due := one.data.evaluation.due(step + 1)) is not None:
            trained.write(number, due, one.evaluate())
    except MutransferError:
        raise
    except Exception as error:
        raise MutransferError(_failure(one, step, error)) from error


def _failure(one: One, step: int, error: Exception) -> str:
    """Return what fails, where, and what copying the model may have to do with it."""
    text = f"training fails at step {step} with {fault(error)}"
    if (function := capturing(one.original)) is None:
        return text
    return (
        f"{text}; a copy of the model trains, and its function {function} still uses the model "
        "that it was made with: write it as a method of the module, or let it use the module that "
        "a hook is called with"
    )


@contextmanager
def _first_step(number: int, one: One) -> Iterator[None]:
    """Try an evaluation, and raise where the step reaches other runs' model or loss."""
    with alone(one.given.task, one.recipe.task.loss), apart(one.original, one.model):
        if number == 0 and one.recipe.evaluations():
            # Before the training: a bug in a metric must not cost all of it.
            one.probe()
        yield
