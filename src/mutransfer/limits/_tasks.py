"""A few examples of a task, as a problem with one output."""

from __future__ import annotations

import numpy as np

from ..core import MutransferError
from ..tasks import Task
from ..tasks import task as find_task
from ._activations import Array


def two_classes(
    task: str | Task, examples: int = 4, classes: tuple[int, int] = (0, 1)
) -> tuple[Array, Array]:
    """The first examples of two classes in equal number, with targets of 1 and -1.

    Inputs are centred and scaled to |x|^2 = D, example by example, so that the features of layer 0 have unit scale.

    Args:
        task: A task whose inputs are vectors of numbers and whose targets are classes, or its name, such as "digits".
        examples: How many, an even number.
        classes: The two classes.

    Returns:
        Inputs (examples, D) and targets (examples,), the classes in turn.

    Raises:
        MutransferError: the task is unknown or has no such inputs, too few examples of a class, or one without any contrast.
    """
    given = find_task(task) if isinstance(task, str) else task
    if (
        not given.inputs.is_floating_point()
        or given.targets.dim() != 1
        or given.targets.is_floating_point()
    ):
        raise MutransferError(
            f"task {given.name} has no vectors of numbers with classes; use digits, or make a limits.Problem of your data"
        )
    if classes[0] == classes[1]:
        raise MutransferError(f"classes are {classes}: give two different ones")
    if examples < 2 or examples % 2:
        raise MutransferError(
            f"examples is {examples}: give an even number, half of it for each class"
        )
    rows = [(given.targets == label).nonzero()[: examples // 2, 0] for label in classes]
    if any(len(own) < examples // 2 for own in rows):
        raise MutransferError(
            f"task {given.name} has fewer than {examples // 2} examples of class {classes[0]} or {classes[1]}"
        )
    chosen = np.stack([own.numpy() for own in rows], axis=1).ravel()
    inputs = given.inputs.flatten(1).double().numpy()[chosen]
    inputs = inputs - inputs.mean(1, keepdims=True)
    scales = np.sqrt((inputs**2).mean(1, keepdims=True))
    if not scales.all():
        raise MutransferError(
            f"task {given.name} has an example whose entries are all equal, example {chosen[int(np.argmin(scales))]}"
        )
    return inputs / scales, np.tile([1.0, -1.0], examples // 2)
