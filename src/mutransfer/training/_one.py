"""One member in an ordinary loop: its copy of the model, its optimizers, one step."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core import MutransferError
from ..pytorch import VARIANTS, parameter_groups
from ..rules import family
from ..tasks import inputs_like
from ._batches import Batches, called, pieces
from ._evaluation import Evaluation, Measure, evaluating, measures
from ._flat import FlatKernels
from ._held import recomputed
from ._loss import autocast, training_loss
from ._members import Member
from ._optimizers import optimizer_class
from ._reached import reached
from ._recipe import Recipe

_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Classes that torch updates in one pass over all tensors, where asked and where it can."""


class NotCopiedError(MutransferError):
    """A model cannot be copied."""


class Data:
    """Batches and validation data of members of one shape, where they train.

    Args:
        members: The members.
        recipe: What they share.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe) -> None:
        like = inputs_like(members[0].model).to(recipe.device, recipe.dtype)
        seeds = [member.seed for member in members]
        self.batches = Batches(recipe.task, seeds, recipe.steps, recipe.batch, like)
        self.evaluation = Evaluation(recipe, like)


class One:
    """One member in training, as torch trains it.

    Args:
        member: The member; its model is copied.
        recipe: The recipe.
        data: The data of all members.
        number: The member's number among them.

    Raises:
        NotCopiedError: the model cannot be copied.
    """

    def __init__(self, member: Member, recipe: Recipe, data: Data, number: int) -> None:
        self.given = member.trained_by(recipe)
        recipe = self.given.apart()
        self.recipe, self.table, self.original = recipe, member.table, member.model
        self.model = placed_model(copied(member.model), recipe)
        self.parameters = dict(self.model.named_parameters())
        self.optimizers = _optimizers(member, recipe, self.parameters)
        self.device = next(iter(self.parameters.values())).device
        self.data, self.member = data, number
        self.threshold = member.threshold(recipe)
        self.factor = 1.0
        self.rates = [
            (group, group["lr"])
            for optimizer in self.optimizers
            for group in optimizer.param_groups
        ]

    def step(self, number: int, factor: float) -> Tensor:
        """Train one step, and return the loss before it."""
        if factor != self.factor:
            self.factor = factor
            for group, lr in self.rates:
                group["lr"] = lr * factor
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        count, losses = self.recipe.accumulate, []
        for inputs, targets in pieces(*self.data.batches.one(self.member, number), count):
            with torch.enable_grad(), autocast(self.recipe, self.device.type):
                loss = training_loss(self.recipe, called(self.model, inputs), targets)
            if not loss.requires_grad:
                raise MutransferError(
                    "no gradient reaches the model's parameters: the loss does not depend on them, "
                    "as where the output is detached; let the forward pass use them"
                )
            (loss if count == 1 else loss / count).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        if number == 0:
            self._unfuse()
        if self.threshold < math.inf:
            self._clip()
        for optimizer in self.optimizers:
            optimizer.step()
        return losses[0] if count == 1 else torch.stack(losses).mean()

    def evaluate(self) -> Tensor:
        """Return validation loss and metrics."""
        with self._measuring(self.model, self.recipe) as measure:
            return self.data.evaluation.mean(measure)

    def probe(self) -> None:
        """Evaluate copies of model and loss, of which nothing stays."""
        with self._measuring(copied(self.model), self.recipe.apart()) as measure:
            self.data.evaluation.probe(measure)

    @contextmanager
    def _measuring(self, model: nn.Module, recipe: Recipe) -> Iterator[Measure]:
        """Put a model into evaluation mode, for a function that measures it."""

        def measure(inputs: Any, targets: Tensor) -> Tensor:
            return measures(recipe.task, called(model, inputs), targets)

        with evaluating(model), autocast(self.recipe, self.device.type):
            yield measure

    def _unfuse(self) -> None:
        """Leave out torch's fused momentum, which fails where a tensor has none yet."""
        if all(p.grad is not None for p in self.parameters.values() if p.requires_grad):
            return
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.SGD):
                for group in optimizer.param_groups:
                    group["fused"] = group["fused"] and not group["momentum"]

    def _clip(self) -> None:
        """Clip the gradients as `Plan.clip_grad_norm_`."""
        named = [(n, p) for n, p in self.parameters.items() if p.grad is not None]
        norms = torch.stack([p.grad.norm() for _, p in named if p.grad is not None])
        multipliers = [self.table[name].multiplier for name, _ in named]
        total = (norms * norms.new_tensor(multipliers)).norm()
        torch.nn.utils.clip_grads_with_norm_([p for _, p in named], self.threshold, total)


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of the model.

    Raises:
        NotCopiedError: the model cannot be copied.
    """
    try:
        copy_ = copy.deepcopy(model, _computed(model))
    except Exception as error:
        raise NotCopiedError(
            f"the model cannot be copied to be trained ({type(error).__name__}: {error}): let "
            "copy.deepcopy(model) work"
        ) from error
    own = dict(copy_.named_parameters())
    for name, parameter in model.named_parameters():
        if own[name] is not parameter:
            _hook(own[name], parameter)
    return copy_


def _computed(model: nn.Module) -> dict[int, Any]:
    """Return copies of what torch computes of parameters, by identity."""
    return {
        id(value): value.detach().clone()
        for module in model.modules()
        for name in recomputed(module)
        if isinstance(value := getattr(module, name, None), Tensor) and not value.is_leaf
    }


def _hook(parameter: nn.Parameter, original: nn.Parameter) -> None:
    """Register the hooks of an original's gradient, which copies lack."""
    for hook in (original._backward_hooks or {}).values():
        parameter.register_hook(hook)  # type: ignore[no-untyped-call]
    for hook in (original._post_accumulate_grad_hooks or {}).values():
        parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]


@contextmanager
def apart(model: nn.Module, trained: nn.Module) -> Iterator[None]:
    """Raise where the backward pass of a model's copy reaches the model.

    Raises:
        MutransferError: naming a parameter that it reaches.
    """
    own = set(trained.parameters())
    named = {name: p for name, p in model.named_parameters() if p not in own}
    with reached(named) as found:
        yield
    if found:
        raise MutransferError(
            f"a function or hook of the model uses {found[0]} of the model that it was made with, "
            "and not of the copy that trains: write it as a method of the module, or let it use "
            "the module that a hook is called with"
        )


def placed_model(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Return a model on the recipe's device, real numbers in its type."""
    for parameter in model.parameters():
        # Those of a scripted module are copied by an operation with a gradient.
        if not parameter.is_leaf:
            parameter.detach_().requires_grad_()
    model = model.to(device=recipe.device)
    if (dtype := recipe.dtype) is not None:
        # Not `Module.to`, which drops the imaginary parts of complex numbers.
        model._apply(  # type: ignore[no-untyped-call]
            lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor
        )
    return model


def _optimizers(
    member: Member, recipe: Recipe, parameters: Mapping[str, nn.Parameter]
) -> list[torch.optim.Optimizer | FlatKernels]:
    """Return the optimizer of every family that trains a tensor of this member."""
    optimizers: list[torch.optim.Optimizer | FlatKernels] = []
    for name, options in recipe.families().items():
        rows = {tensor: row for tensor, row in member.table.items() if row.optimizer == name}
        kind = optimizer_class(name)
        if rows and kind is not None:
            groups = parameter_groups(rows, parameters)
            settings: dict[str, Any] = {**VARIANTS.get(name, {}), **options}
            if kind in _FUSED and _can_be_fused(member.model):
                settings["fused"] = True
            if family(name).matrices:
                optimizers.append(FlatKernels(kind, groups, **settings))
            else:
                optimizers.append(kind(groups, **settings))
    return optimizers


def _can_be_fused(model: nn.Module) -> bool:
    """Return True if torch's fused updates take all gradients of a model."""
    sparse = any(getattr(module, "sparse", False) is True for module in model.modules())
    known = all(
        parameter.is_floating_point() and parameter.layout == torch.strided
        for parameter in model.parameters()
    )
    return known and not sparse
