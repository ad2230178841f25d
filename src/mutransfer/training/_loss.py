"""The loss of one batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core import MutransferError
from ..tasks import Task


def batch_loss(task: Task, output: Any, targets: Tensor) -> Tensor:
    """Return a task's loss of what a model returned.

    Raises:
        MutransferError: the model returned something else than a tensor, and the task's loss does
            not take it.
    """
    if isinstance(output, Tensor):
        return task.loss(output, targets)
    try:
        return task.loss(output, targets)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise MutransferError(
            f"the model returns a {type(output).__name__}, and the loss of task {task.name} does "
            f"not take it ({error}): let the loss pick its tensor, as "
            "mutransfer.tasks.cross_entropy does"
        ) from error
