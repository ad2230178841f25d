"""Members: configurations of one shape that train together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..core import MutransferError
from ..plans import Row
from ._recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One configuration: a model, the hyperparameters of its tensors, its seed.

    Members with the same initial draw may share one model: it is copied, never changed.

    Attributes:
        model: The initialised model.
        table: The hyperparameters of each tensor, as `Plan.table` returns them.
        seed: The seed of its batches.
        clip: Factor of the recipe's threshold of the gradient norm, `Plan.clip`.
        recipe: Its own recipe, where it differs from that of all in what `Recipe.shared` leaves
            out: betas, momentum, schedule, warmup, clip.
    """

    model: nn.Module
    table: Mapping[str, Row]
    seed: int
    clip: float = 1.0
    recipe: Recipe | None = None

    def trained_by(self, recipe: Recipe) -> Recipe:
        """Return the member's own recipe, or that of all."""
        return recipe if self.recipe is None else self.recipe

    def threshold(self, recipe: Recipe) -> float:
        """Return the largest gradient norm of this member, infinity without clipping."""
        clip = self.trained_by(recipe).clip
        return math.inf if clip is None else clip * self.clip


def check_members(members: Sequence[Member], recipe: Recipe) -> None:
    """Raise unless every trained tensor has hyperparameters of the recipe's families.

    Raises:
        MutransferError: there are no members, one of them has nothing to train, or naming the
            member and its tensor.
    """
    if not members:
        raise MutransferError("there is nothing to train: give at least one member")
    families, shared = recipe.families(), recipe.shared()
    for number, member in enumerate(members):
        if member.trained_by(recipe) is not recipe and member.trained_by(recipe).shared() != shared:
            raise MutransferError(
                f"the recipe of member {number} differs from that of all in more than the options "
                "of the optimizer, schedule, warmup and clip: train it with others of its kind"
            )
        trained = [name for name, p in member.model.named_parameters() if p.requires_grad]
        if not trained:
            raise MutransferError(
                "no parameter of the model trains: requires_grad is False for all of them, or it "
                "has none"
            )
        for name in trained:
            if name not in member.table:
                raise MutransferError(f"{name} is not in the table of member {number}")
            if (family := member.table[name].optimizer) not in families:
                raise MutransferError(
                    f"{name} of member {number} is planned for {family}, but the recipe trains "
                    f"with {recipe.optimizer}: plan and recipe need one optimizer"
                )
