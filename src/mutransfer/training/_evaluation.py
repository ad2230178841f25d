"""Evaluation of models: the loss of data kept apart, and the task's metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core import MutransferError
from ..tasks import Stream, Task
from ._batches import copied_batch, mapped, placed
from ._generators import as_it_was
from ._loss import batch_loss
from ._recipe import Recipe

Measure = Callable[[Any, Tensor], Tensor]
"""Returns the mean of the measures over a piece, of its inputs and targets."""


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

    def mean(self, measure: Measure) -> Float[Tensor, "*member measures"]:
        """Return the mean of measures over all examples."""
        return _mean(measure, self._pieces)

    def probe(self, measure: Measure) -> Float[Tensor, "*member measures"]:
        """Return the mean over a piece of each size, to see that measuring works.

        Generators stay as they were; that tensors and attributes do is up to the caller.
        """
        of_each_size = {len(targets): (inputs, targets) for inputs, targets in self._pieces}
        with as_it_was():
            return _mean(measure, of_each_size.values())


def _mean(
    measure: Measure, pieces: Collection[tuple[Any, Tensor]]
) -> Float[Tensor, "*member measures"]:
    """Return the mean of measures over all examples of some pieces."""
    parts = [len(targets) * measure(*copied_batch(inputs, targets)) for inputs, targets in pieces]
    return torch.stack(parts).sum(0) / sum(len(targets) for _, targets in pieces)


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


_REQUIRES_GRAD = Tensor.requires_grad.__get__  # type: ignore[attr-defined]
"""The function that a mode sees where `requires_grad` of a tensor is read."""


class Requiring(TorchFunctionMode):
    """Parameters that say they require gradients, as a loop's do in evaluation.

    Under vmap no tensor does, and a forward pass may ask for it, as to penalise what is trained.

    Args:
        parameters: The trained parameters.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self._parameters = {id(parameter) for parameter in parameters}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer for parameters, and call what else there is."""
        if func == _REQUIRES_GRAD and id(args[0]) in self._parameters:
            return True
        return func(*args, **(kwargs or {}))


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
