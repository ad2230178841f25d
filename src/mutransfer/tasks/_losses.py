"""Losses that keep state, such as a running mean: each run has a copy of its own."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

from ._batches import Loss
from ._stream import Stream
from ._task import Task

T = TypeVar("T", bound=Task | Stream)


def copied_loss(loss: Loss) -> Loss:
    """Return a copy of a loss, or itself where it is a function or cannot be copied."""
    try:
        return copy.deepcopy(loss)
    except Exception:  # of a user's object, of any kind
        return loss


def with_own_loss(task: T) -> T:
    """Return the task with a copy of its loss, or itself where there is no copy."""
    loss = copied_loss(task.loss)
    return task if loss is task.loss else replace(task, loss=loss)
