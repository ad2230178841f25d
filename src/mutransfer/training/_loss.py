"""The loss of one batch, in the recipe's precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..core import MutransferError
from ..tasks import Stream, Task
from ._recipe import Recipe


def autocast(recipe: Recipe, device: str, *, stacked: bool = False) -> AbstractContextManager[Any]:
    """Return the context of forward passes: autocast where the precision is bfloat16."""
    if recipe.precision != "bfloat16":
        return nullcontext()
    # A cast that is cached must not outlive the level of vmap and grad that it was made in.
    return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=not stacked)


def training_loss(recipe: Recipe, output: Any, targets: Tensor) -> Tensor:
    """Return the loss that is trained, with label smoothing where asked.

    Raises:
        MutransferError: as `batch_loss`.
    """
    options = {"label_smoothing": recipe.label_smoothing} if recipe.label_smoothing else {}
    return batch_loss(recipe.task, output, targets, **options)


def batch_loss(task: Task | Stream, output: Any, targets: Tensor, **options: float) -> Tensor:
    """Return a task's loss of what a model returned.

    Raises:
        MutransferError: the model returned something else than a tensor, and the task's loss does
            not take it.
    """
    if isinstance(output, Tensor):
        return task.loss(output, targets, **options)
    try:
        return task.loss(output, targets, **options)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise MutransferError(
            f"the model returns a {type(output).__name__}, and the loss of task {task.name} does "
            f"not take it ({error}): let the loss pick its tensor, as "
            "mutransfer.tasks.cross_entropy does"
        ) from error
