"""Evaluation of models: the loss of data kept apart, and the task's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..core import MutransferError
from ..tasks import Stream, Task
from ._batches import mapped, placed
from ._loss import batch_loss
from ._recipe import Recipe


class Evaluation:
    """The validation data of a recipe, in pieces of its batch.

    Args:
        recipe: The recipe.
        like: A parameter, for device and type.
    """

    def __init__(self, recipe: Recipe, like: Tensor) -> None:
        self._steps = {steps: place for place, steps in enumerate(recipe.evaluations())}
        self._pieces: list[tuple[Any, Tensor]] = []
        if recipe.task.validation is None:
            return
        inputs, targets = (placed(data, like) for data in recipe.task.validation)
        for start in range(0, len(targets), recipe.batch):
            part = slice(start, start + recipe.batch)
            cut = mapped(lambda data, part=part: data[part], inputs)  # type: ignore[misc]
            self._pieces.append((cut, targets[part]))

    def due(self, steps: int) -> int | None:
        """Return the number of the evaluation after these steps, None if there is none."""
        return self._steps.get(steps)

    def mean(
        self, measure: Callable[[Any, Tensor], Tensor], *, probe: bool = False
    ) -> Float[Tensor, "*member measures"]:
        """Return the mean of measures over all examples.

        Args:
            measure: The mean of the measures over a piece, of its inputs and targets.
            probe: True to measure a single example, to see that measuring works.
        """
        if probe:
            inputs, targets = self._pieces[0]
            return measure(mapped(lambda data: data[:1], inputs), targets[:1])
        parts = [len(targets) * measure(inputs, targets) for inputs, targets in self._pieces]
        examples = sum(len(targets) for _, targets in self._pieces)
        return torch.stack(parts).sum(0) / examples


def measures(task: Task | Stream, output: Any, targets: Tensor) -> Float[Tensor, " measures"]:
    """Return the loss and the metrics of an output, float64.

    Raises:
        MutransferError: a metric fails or returns more than one number.
    """
    values = [batch_loss(task, output, targets).double()]
    for name, metric in task.metrics.items():
        value = metric(output, targets)
        if not isinstance(value, Tensor):
            value = torch.tensor(float(value), device=values[0].device)
        if value.dim():
            raise MutransferError(
                f"the metric {name} of task {task.name} returns a tensor of shape "
                f"{tuple(value.shape)}: return one number, the mean over the examples"
            )
        values.append(value.double())
    return torch.stack(values)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode without gradients, and back as it was."""
    # The flags themselves, as a module's own `train` may do more, such as to merge weights.
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
