"""The stack: parameters, state and rates of all members in common tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ._batches import Batches, arguments, pieces
from ._buckets import Bucket, bucket_names, stacked
from ._evaluation import Evaluation, evaluating, measures
from ._loss import autocast, training_loss
from ._members import Member
from ._optimizers import UPDATES
from ._recipe import Recipe


class Stack:
    """The members' parameters, buffers, optimizer state and rates, stacked.

    Args:
        members: Members of one shape.
        recipe: What they share.

    Raises:
        MutransferError: shapes or optimizer families differ between members.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe) -> None:
        self.recipe = recipe
        self.template = _template(members[0].model)
        names = bucket_names(members[0])
        self.buckets = [Bucket.of(together, members, recipe.dtype) for together in names]
        buffers = [_untrained(member.model) for member in members]
        self.buffers = {
            name: stacked([b[name] for b in buffers], name, recipe.dtype) for name in buffers[0]
        }
        self.parameters = self._by_name()
        self.alive = torch.arange(len(members))
        like = next(iter(self.parameters.values()))
        self.device = like.device.type
        seeds = [member.seed for member in members]
        self.batches = Batches(recipe.task, seeds, recipe.steps, recipe.batch, like)
        self.evaluation = Evaluation(recipe, like)
        thresholds = [member.threshold(recipe) for member in members]
        self.thresholds = torch.tensor(thresholds, dtype=like.dtype, device=like.device)
        self.options = {
            family: {**options, **UPDATES[family].fixed}
            for family, options in recipe.families().items()
        }
        loss = self._scored(partial(training_loss, recipe))
        self.gradient = torch.func.vmap(torch.func.grad_and_value(loss), randomness="different")
        self.measure = torch.func.vmap(
            self._scored(partial(measures, recipe.task)),
            in_dims=(0, 0, None, None),
            randomness="different",
        )

    @property
    def largest(self) -> int:
        """Entries of the largest stacked parameter."""
        return max(bucket.tensors["parameter"][0].numel() for bucket in self.buckets)

    def step(self, number: int, factor: float = 1.0) -> Float[Tensor, " member"]:
        """Train the members in the stack one step, and return their losses before it."""
        gradients, losses = self._gradients(number)
        gathered = [bucket.gathered(gradients) for bucket in self.buckets]
        if self.recipe.clip is not None:
            self._clip(gathered)
        for bucket, gradient in zip(self.buckets, gathered, strict=True):
            bucket.step(gradient, number + 1, factor, self.options[bucket.family])
        return losses

    def evaluate(self, *, probe: bool = False) -> Float[Tensor, "member measures"]:
        """Return validation loss and metrics; of one example in a probe."""
        with evaluating(self.template):
            return self.evaluation.mean(
                lambda inputs, targets: self.measure(
                    self.parameters, self.buffers, inputs, targets
                ),
                probe=probe,
            )

    def keep(self, members: list[int]) -> None:
        """Drop all other members, which then cost nothing more."""
        if len(members) == len(self.alive):
            return
        index = torch.tensor(members, dtype=torch.long)
        for bucket in self.buckets:
            bucket.keep(index)
        self.buffers = {
            name: buffer[index.to(buffer.device)] for name, buffer in self.buffers.items()
        }
        self.thresholds = self.thresholds[index.to(self.thresholds.device)]
        self.parameters = self._by_name()
        self.alive = self.alive[index]
        self.batches.keep(index)

    def _gradients(self, number: int) -> tuple[dict[str, Tensor], Float[Tensor, " member"]]:
        """Return gradients and losses of one step, means over the pieces of its batch."""
        count = self.recipe.accumulate
        parts = [
            self.gradient(self.parameters, self.buffers, inputs, targets)
            for inputs, targets in pieces(*self.batches[number], count, dim=1)
        ]
        if count == 1:
            return parts[0]
        names = parts[0][0]
        gradients = {n: torch.stack([part[n] for part, _ in parts]).sum(0) / count for n in names}
        return gradients, torch.stack([losses for _, losses in parts]).mean(0)

    def _clip(self, gathered: Sequence[Tensor]) -> None:
        """Clip each member's gradients in place, as `Plan.clip_grad_norm_`."""
        pairs = zip(self.buckets, gathered, strict=True)
        squares = [bucket.squared_norms(gradient) for bucket, gradient in pairs]
        total = torch.stack(squares).sum(0).sqrt()
        scale = torch.clamp(self.thresholds / (total + 1e-6), max=1.0)
        for gradient in gathered:
            gradient.mul_(scale.view(1, -1, *[1] * (gradient.dim() - 2)))

    def _by_name(self) -> dict[str, Tensor]:
        return {
            name: bucket.tensors["parameter"][i]
            for bucket in self.buckets
            for i, name in enumerate(bucket.names)
        }

    def _scored(self, score: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
        """Return the score of one member as a function of its tensors and a batch."""

        def scored(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Any, targets: Tensor
        ) -> Tensor:
            positional, named = arguments(inputs)
            tensors = (parameters, buffers)
            with autocast(self.recipe, self.device, stacked=True):
                output = torch.func.functional_call(
                    self.template, tensors, positional, named, strict=True
                )
                return score(output, targets)

        return scored


def _untrained(model: nn.Module) -> dict[str, Tensor]:
    """Return buffers and frozen parameters."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    return dict(model.named_buffers()) | frozen


def _template(model: nn.Module) -> nn.Module:
    """Return a copy of the model, or itself where it cannot be copied.

    A forward pass may keep state in plain attributes, which another training of the same model must
    not see.
    """
    try:
        return copy.deepcopy(model)
    except Exception:
        return model
