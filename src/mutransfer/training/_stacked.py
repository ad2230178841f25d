"""Training as one program: all members in one stack, one vectorised step for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..statistics import diverged_at
from ._environment import CHECK_EVERY, program
from ._recipe import Member, Recipe, Watch, check_members
from ._stack import Stack


def train(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None = None
) -> Float[Tensor, "member steps"]:
    """Train all members together, each at its own rates.

    Losses equal those of `train_one_by_one` to rounding, unless the model itself draws while it
    trains, as dropout does.

    Args:
        members: Configurations of one shape.
        recipe: What they share.
        watch: Receives progress.

    Returns:
        The loss of every step before its update, float64; not a number for the steps that a
        diverged member was not trained any more (see `statistics.diverged_at`).

    Raises:
        MutransferError: there are no members, or their shapes or optimizers do not fit.
    """
    check_members(members, recipe)
    stack = Stack(members, recipe)
    losses = torch.full((len(members), recipe.steps), float("nan"), dtype=torch.float64)
    with program(stack.largest):
        for step in range(recipe.steps):
            losses[stack.alive, step] = stack.step(step).double().cpu()
            if watch is not None:
                watch(len(stack.alive))
            if (step + 1) % CHECK_EVERY == 0:
                ends = diverged_at(losses[stack.alive, : step + 1].numpy())
                stack.keep([i for i, end in enumerate(ends) if end is None])
                if not len(stack.alive):
                    break
    return losses
