"""Divergence of a member: its losses beside those before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ..statistics import Array, hopeless
from ._batches import Batches, called
from ._generators import as_it_was
from ._loss import autocast, training_loss
from ._members import Member
from ._one import copied, placed_model
from ._recipe import Recipe

_FIRST = 8
"""Batches from the start of training that are looked at, besides that of a step in doubt."""


class Divergence:
    """Divergence of one member.

    Its first batch may be far easier than the others, as one example of a regression or the start
    of a curriculum. So a loss that is hopeless beside the first one is compared with those of the
    network before training: on the batch of that step, and on the first batches. These are
    computed where a loss is in doubt, which is seldom.

    Args:
        untrained: Returns the loss of the network before training on the batch of a step.
    """

    def __init__(self, untrained: Callable[[int], float]) -> None:
        self._untrained = untrained
        self._references: list[float] = []

    def at(self, losses: Float[Array, " steps"]) -> int | None:
        """Return the step at which training diverged, None if it has not.

        Args:
            losses: The losses from the first step on; NaN where it was not trained.
        """
        self._references = self._references or [float(losses[0])]
        while True:
            reference = max(self._references, key=abs)
            flagged = hopeless(np.array(reference), losses)
            if not flagged.any():
                return None
            step = int(flagged.argmax())
            if not np.isfinite(losses[step]) or self._compare(step) <= abs(reference):
                return step

    def _compare(self, step: int) -> float:
        """Return the largest size of an untrained loss, that of this step among them."""
        steps = [step] if len(self._references) > 1 else [*range(1, _FIRST), step]
        found = [self._untrained(each) for each in steps]
        self._references += [loss for loss in found if np.isfinite(loss)]
        return max(map(abs, self._references))


class Untrained:
    """The losses of a member's network before training.

    Args:
        member: The member.
        recipe: The recipe.
        batches: The batches of all members.
        number: The member's number among them.
    """

    def __init__(self, member: Member, recipe: Recipe, batches: Batches, number: int) -> None:
        self._member, self._recipe = member, member.trained_by(recipe).apart()
        self._batches, self._number = batches, number

    @cached_property
    def _model(self) -> nn.Module:
        return placed_model(copied(self._member.model), self._recipe)

    def __call__(self, step: int) -> float:
        """Return the loss on the batch of a step; NaN where there is none."""
        if step >= self._recipe.steps:
            return np.nan
        try:
            with as_it_was(), torch.enable_grad():
                inputs, targets = self._batches.one(self._number, step)
                device = next(self._model.parameters()).device.type
                with autocast(self._recipe, device):
                    loss = training_loss(self._recipe, called(self._model, inputs), targets)
                return float(loss.detach())
        except Exception:
            # Nothing to compare with: the first loss decides.
            return np.nan


def divergences_of(members: Sequence[Member], recipe: Recipe, batches: Batches) -> list[Divergence]:
    """Return the divergence of each member."""
    return [
        Divergence(Untrained(member, recipe, batches, number))
        for number, member in enumerate(members)
    ]
