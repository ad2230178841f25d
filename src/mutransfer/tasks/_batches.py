"""Batches of data: inputs as one tensor or a mapping of tensors, and their feed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..core import MutransferError

Inputs = Tensor | Mapping[str, Tensor]
"""The inputs of a model, one row an example; a mapping is passed by name: `model(**inputs)`."""

Batch = tuple[Inputs, Tensor]
"""Inputs and targets, one row an example."""

Loss = Callable[[Any, Tensor], Tensor]
"""A function of what a model returns and the targets, to their mean over examples."""


@dataclass(frozen=True, eq=False)
class Feed:
    """The batches of one training run: `feed[step]` is (inputs, targets).

    Attributes:
        name: The name of the task, for messages.
        steps: Number of steps.
        size: Examples a step.
        read: Returns the batch of a step.
    """

    name: str
    steps: int
    size: int
    read: Callable[[int], Batch]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the {self.steps} steps of {self.name}")
        return checked_batch(self.read(step), self.size, f"task {self.name}, step {step}")


def checked_batch(batch: Any, size: int, where: str) -> Batch:
    """Return a batch of this size.

    Args:
        batch: The batch, which may come from a user's function.
        size: Examples that it should have.
        where: The task and step, for messages.

    Raises:
        MutransferError: it is no pair of inputs and targets, or has another number of rows.
    """
    match batch:
        case (Tensor() | Mapping() as inputs, Tensor() as targets):
            pass
        case _:
            raise MutransferError(
                f"{where}: the batch is {_described(batch)}; return (inputs, targets), inputs as a "
                "tensor or a mapping of tensors, targets as a tensor"
            )
    lengths = {length(inputs), length(targets)}
    if lengths != {size}:
        raise MutransferError(
            f"{where}: the batch has {length(inputs)} rows of inputs and {length(targets)} of "
            f"targets, not {size}"
        )
    return inputs, targets


def length(inputs: Inputs) -> int:
    """Return the number of examples.

    Raises:
        MutransferError: the tensors of a mapping have different numbers of rows, or there are none.
    """
    if isinstance(inputs, Tensor):
        return len(inputs)
    rows = {name: len(tensor) for name, tensor in inputs.items()}
    if len(set(rows.values())) != 1:
        raise MutransferError(
            f"inputs are a mapping with rows {rows}: give tensors with one row an example each"
        )
    return next(iter(rows.values()))


def take(inputs: Inputs, rows: Int[Tensor, "*rows"] | slice) -> Inputs:
    """Return some examples of the inputs."""
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return {name: tensor[rows] for name, tensor in inputs.items()}


def are_equal(first: Inputs | None, second: Inputs | None) -> bool:
    """Return True where two inputs have the same names, values, types and devices."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        alike = (first.dtype, first.device) == (second.dtype, second.device)
        return alike and first.equal(second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            are_equal(tensor, second[name]) for name, tensor in first.items()
        )
    return first is second


def inputs_like(model: nn.Module) -> Tensor:
    """Return an empty tensor of the device and type that a model's inputs have.

    The type is that of the first trained parameter of real numbers. A frozen one may be stored in
    fewer bits than the model computes with. Inputs stay real where all trained ones are complex.
    """
    parameters = sorted(
        model.parameters(), key=lambda p: (not p.requires_grad, not p.is_floating_point())
    )
    if not parameters:
        return torch.empty(0)
    first = parameters[0]
    numbers = first.is_floating_point() or first.is_complex()
    return torch.empty(0, device=first.device, dtype=first.dtype.to_real() if numbers else None)


def shapes(inputs: Inputs) -> tuple[Any, ...]:
    """Return the shapes of inputs, which can be hashed."""
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape)
    return tuple((name, tuple(tensor.shape)) for name, tensor in sorted(inputs.items()))


def check_size(name: str, examples: float, size: int) -> None:
    """Raise unless a batch of this size can be drawn from the data.

    Raises:
        MutransferError: naming the sizes that can.
    """
    if not 0 < size <= examples:
        known = f"has {examples} examples" if math.isfinite(examples) else "is a stream"
        most = f"from 1 to {examples}" if math.isfinite(examples) else "at least 1"
        raise MutransferError(f"task {name} {known}, so a batch cannot have {size}; choose {most}")


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(type(v).__name__ for v in value) or 'none'}"
    return f"a {type(value).__name__}"
