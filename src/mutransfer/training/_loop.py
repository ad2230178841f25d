"""Training one by one: an ordinary loop with torch's own optimizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..pytorch import VARIANTS, parameter_groups, torch_class
from ..rules import family
from ..statistics import diverged_at
from ._environment import CHECK_EVERY, placed, program
from ._flat import FlatKernels
from ._loss import batch_loss
from ._recipe import Member, Recipe, Watch, check_members


def train_one_by_one(
    members: Sequence[Member], recipe: Recipe, watch: Watch | None = None
) -> Float[Tensor, "member steps"]:
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
        MutransferError: there are no members, or a tensor has no hyperparameters.
    """
    check_members(members, recipe)
    losses = torch.full((len(members), recipe.steps), float("nan"), dtype=torch.float64)
    for member, row in zip(members, losses, strict=True):
        _train(member, recipe, row, watch)
    return losses


def _train(
    member: Member, recipe: Recipe, losses: Float[Tensor, " steps"], watch: Watch | None
) -> None:
    """Train one member, and write the loss of every step."""
    model = copy.deepcopy(member.model)
    parameters = dict(model.named_parameters())
    optimizers = _optimizers(member, recipe, parameters)
    inputs, targets = placed(recipe.task, next(iter(parameters.values())))
    batches = recipe.task.batches(member.seed, recipe.steps, recipe.batch)
    with program(max(parameter.numel() for parameter in parameters.values())):
        for step, rows in enumerate(batches):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = batch_loss(recipe.task, model(inputs[rows]), targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
            losses[step] = loss.detach().double()
            if watch is not None:
                watch(1)
            due = (step + 1) % CHECK_EVERY == 0
            if due and diverged_at(losses[None, : step + 1].numpy())[0] is not None:
                return


def _optimizers(
    member: Member, recipe: Recipe, parameters: Mapping[str, nn.Parameter]
) -> list[torch.optim.Optimizer | FlatKernels]:
    """Return torch's optimizer of every family that trains a tensor of this member."""
    optimizers: list[torch.optim.Optimizer | FlatKernels] = []
    for name, options in recipe.families().items():
        rows = {tensor: row for tensor, row in member.table.items() if row.optimizer == name}
        kind = torch_class(family(name))
        if rows and kind is not None:
            groups = parameter_groups(rows, parameters)
            settings = {**VARIANTS.get(name, {}), **options}
            if family(name).matrices:
                optimizers.append(FlatKernels(kind, groups, **settings))
            else:
                optimizers.append(kind(groups, **settings))
    return optimizers
