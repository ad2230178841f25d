"""One step of all members together: a function of tensors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ._batches import arguments, pieces
from ._buckets import squared_norms, update
from ._draws import OwnDraws
from ._evaluation import Requiring, measures
from ._loss import autocast, training_loss
from ._numbers import NumberTable
from ._optimizers import UPDATES
from ._recipe import Recipe

State = Sequence[Mapping[str, Tensor]]
"""The tensors of every bucket."""


class Together:
    """Gradient and update of all members, which change their tensors in place.

    Called with the state, the buffers, thresholds of the gradients' norms, inputs and targets of
    every slot, and its numbers, it returns the losses before the update, (slot,).

    Args:
        template: The module whose tensors are replaced.
        recipe: What members share.
        kinds: Names and optimizer family of every bucket.
        numbers: The numbers of all steps.
        device: Type of the device.
        clips: True if a member's gradients are clipped.

    Attributes:
        is_watched: True to refuse draws that a stack would make otherwise.
        looks: True to note parameters without gradient.
        still: The names of those whose gradients were zero for all members.
    """

    def __init__(
        self,
        template: nn.Module,
        recipe: Recipe,
        kinds: Sequence[tuple[list[str], str]],
        numbers: NumberTable,
        device: str,
        *,
        clips: bool,
    ) -> None:
        self.template, self.recipe, self.kinds = template, recipe, kinds
        self.numbers, self.device, self.clips = numbers, device, clips
        # The first passes alone are watched: a mode costs time at each operation.
        self.is_watched = True
        self.looks, self.still = False, list[str]()
        self.options = {
            family: {**UPDATES[family].shared(options), **UPDATES[family].fixed}
            for family, options in recipe.families().items()
        }
        self._gradient = torch.func.grad_and_value(self._scored(self._loss))
        self._measure = self._scored(self._measures)

    def __call__(
        self,
        state: State,
        buffers: Mapping[str, Tensor],
        thresholds: Float[Tensor, " slot"],
        inputs: Any,
        targets: Tensor,
        numbers: Float[Tensor, "slot numbers"],
        *,
        count: int = 0,
        whole: bool = False,
    ) -> Float[Tensor, " slot"]:
        """Train one step; see `buckets.update` for `count` and `whole`."""
        gradients, losses = self._gradients(self._named(state), buffers, inputs, targets)
        gathered = [
            torch.stack([gradients[name] for name in names])
            if len(names) > 1
            else gradients[names[0]][None]
            for names, _ in self.kinds
        ]
        if self.looks:
            self.still = [name for name, moves in self._moving(gathered) if not moves]
        if self.clips:
            gathered = _clipped(state, gathered, thresholds)
        factor, by_family = self.numbers.by_family(numbers)
        for (_, family), tensors, gradient in zip(self.kinds, state, gathered, strict=True):
            own, options = by_family.get(family, {}), self.options[family]
            update(family, tensors, gradient, factor, own, options, count, whole=whole)
        return losses

    def measure(
        self, state: State, buffers: Mapping[str, Tensor], inputs: Any, targets: Tensor
    ) -> Float[Tensor, "slot measures"]:
        """Return validation loss and metrics of one batch, the same for all members."""

        def measure(parameters: Mapping[str, Tensor], *others: Any) -> Tensor:
            with Requiring(parameters.values()):
                return self._measure(parameters, *others)

        tensors = self._named(state), buffers
        measured: Tensor = over_slots(measure, tensors, (inputs, targets), each=False)
        return measured

    def _loss(self, output: Any, targets: Tensor) -> Tensor:
        return training_loss(self.recipe, output, targets)

    def _measures(self, output: Any, targets: Tensor) -> Tensor:
        return measures(self.recipe.task, output, targets)

    def _gradients(
        self, parameters: Mapping[str, Tensor], buffers: Any, inputs: Any, targets: Tensor
    ) -> tuple[Mapping[str, Tensor], Float[Tensor, " slot"]]:
        """Return gradients and losses of one step, means over the pieces of its batch."""
        count, tensors = self.recipe.accumulate, (parameters, buffers)
        parts = [
            over_slots(self._gradient, tensors, piece, each=True)
            for piece in pieces(inputs, targets, count, dim=1)
        ]
        if count == 1:
            return parts[0]  # type: ignore[no-any-return]
        names = parts[0][0]
        gradients = {n: torch.stack([part[n] for part, _ in parts]).sum(0) / count for n in names}
        return gradients, torch.stack([losses for _, losses in parts]).mean(0)

    def _moving(self, gathered: Sequence[Tensor]) -> Iterator[tuple[str, bool]]:
        """Yield each parameter's name, and True if a gradient of it is not zero."""
        for (names, _), gradient in zip(self.kinds, gathered, strict=True):
            yield from zip(names, (gradient != 0).flatten(1).any(1).tolist(), strict=True)

    def _named(self, state: State) -> dict[str, Tensor]:
        pairs = zip(self.kinds, state, strict=True)
        return {n: t["parameter"][i] for (names, _), t in pairs for i, n in enumerate(names)}

    def _scored(self, score: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
        """Return the score of one member as a function of its tensors and a batch."""

        def scored(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Any, targets: Tensor
        ) -> Tensor:
            positional, named = arguments(inputs)
            tensors = {**parameters, **buffers}
            watched = OwnDraws() if self.is_watched else nullcontext()
            with watched, autocast(self.recipe, self.device, stacked=True):
                output = torch.func.functional_call(
                    self.template, tensors, positional, named, strict=True
                )
                # A tensor that is assigned is put here, and the stack's own one stays as it was.
                if lost := [name for name in buffers if tensors[name] is not buffers[name]]:
                    raise ValueError(f"its forward pass assigns a tensor to the buffer {lost[0]}")
                return score(output, targets)

        return scored


def over_slots(
    function: Callable[..., Any], tensors: tuple[Any, ...], batch: tuple[Any, ...], *, each: bool
) -> Any:
    """Return a function of one member for all slots, stacked.

    A single slot needs no vectorisation, and so has the fast kernels of attention.

    Args:
        function: A function of a member's tensors and a batch.
        tensors: The tensors of all slots.
        batch: The batch.
        each: True if every slot has a batch of its own.
    """
    leaf = next(iter(tensors[0].values()))
    if len(leaf) > 1:
        dims = (*[0] * len(tensors), *[0 if each else None] * len(batch))
        return torch.func.vmap(function, in_dims=dims, randomness="different")(*tensors, *batch)
    map_all = torch.utils._pytree.tree_map_only
    alone = [map_all(Tensor, lambda tensor: tensor[0], part) for part in tensors]
    own = [map_all(Tensor, lambda tensor: tensor[0], part) if each else part for part in batch]
    return map_all(Tensor, lambda tensor: tensor[None], function(*alone, *own))


def _clipped(
    state: State, gathered: Sequence[Tensor], thresholds: Float[Tensor, " slot"]
) -> list[Tensor]:
    """Return each member's gradients, clipped as by `Plan.clip_grad_norm_`."""
    pairs = zip(state, gathered, strict=True)
    squares = [squared_norms(tensors, gradient) for tensors, gradient in pairs]
    total = torch.stack(squares).sum(0).sqrt()
    scale = torch.clamp(thresholds / (total + 1e-6), max=1.0)
    return [g * scale.view(1, -1, *[1] * (g.dim() - 2)) for g in gathered]
