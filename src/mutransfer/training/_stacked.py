"""Training as one program: all members in one stack, one vectorised step for all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ..statistics import diverged_at
from ._environment import CHECK_EVERY, program
from ._fallback import NotStackedError, one_by_one, quiet, slowness
from ._members import Member, check_members
from ._recipe import Recipe, Watch
from ._stack import Stack
from ._trained import Trained


def train(members: Sequence[Member], recipe: Recipe, watch: Watch | None = None) -> Trained:
    """Train all members together, each at its own rates.

    Losses equal those of `train_one_by_one` to rounding, unless the model itself draws while it
    trains, as dropout does. A model that cannot be stacked, as one whose forward pass branches on
    values, is trained one by one, with a `StackingWarning` that says why.

    Args:
        members: Configurations of one shape.
        recipe: What they share.
        watch: Receives progress.

    Returns:
        The loss of every step before its update, and the validation loss and metrics of every
        evaluation.

    Raises:
        MutransferError: there are no members, their shapes or optimizers do not fit, or the model
            fails.
    """
    check_members(members, recipe)
    stack, generator = Stack(members, recipe), torch.get_rng_state()
    try:
        return _together(stack, watch)
    except NotStackedError as failure:
        reason, done = failure.reason, failure.done
    # After the handler, which would keep the stack in memory by the error's frames.
    del stack
    torch.set_rng_state(generator)
    return one_by_one(members, recipe, watch, reason, done)


def _together(stack: Stack, watch: Watch | None) -> Trained:
    """Train a stack.

    Raises:
        NotStackedError: the model, the loss or a metric failed.
    """
    trained, done = Trained.empty(len(stack.alive), stack.recipe), 0
    losses = trained.losses
    with program(stack.largest), quiet():
        for step, factor in enumerate(stack.recipe.factors()):
            try:
                losses[stack.alive, step] = _step(stack, step, factor).double().cpu()
                if (due := stack.evaluation.due(step + 1)) is not None:
                    trained.write(stack.alive, due, stack.evaluate())
            except Exception as error:
                raise NotStackedError(error, done) from error
            done += len(stack.alive)
            if watch is not None:
                watch(len(stack.alive))
            if (step + 1) % CHECK_EVERY == 0:
                ends = diverged_at(losses[stack.alive, : step + 1].numpy())
                stack.keep([i for i, end in enumerate(ends) if end is None])
                if not len(stack.alive):
                    break
    return trained


def _step(stack: Stack, step: int, factor: float) -> Tensor:
    """Train one step; the first also tries an evaluation, and warns if it is slow."""
    with slowness(stack.template) if step == 0 else nullcontext():
        if step == 0 and stack.recipe.evaluations():
            # Before the training: a metric that cannot be stacked must not cost all of it.
            stack.evaluate(probe=True)
        return stack.step(step, factor)
