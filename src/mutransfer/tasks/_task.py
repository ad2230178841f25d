"""A Task: data that is held in memory, and the loss to train on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import torch
from jaxtyping import Int
from torch import Tensor

from ..core import FrozenDict, MutransferError
from ._batches import Batch, Feed, Inputs, Loss, are_equal, check_size, length, shapes, take


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Data and a loss.

    Tasks are equal where name, loss, metrics and data are. A task that the library loads by name
    is pickled as the call that loads it, others with their data.

    Attributes:
        name: Short name; it is part of a sweep's record.
        inputs: One row an example, (examples, ...); a mapping is passed to the model by name.
        targets: One row an example, (examples, ...).
        loss: Maps what a model returns and the targets of one batch to a scalar, the batch's mean.
        validation: Inputs and targets that are kept apart from training.
        metrics: Functions as the loss, by name, evaluated on the validation data; each is a mean
            over examples, such as `accuracy`.
    """

    name: str
    inputs: Inputs = field(repr=False)
    targets: Tensor = field(repr=False)
    loss: Loss
    validation: Batch | None = field(default=None, repr=False)
    metrics: Mapping[str, Loss] = field(default_factory=FrozenDict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", FrozenDict(self.metrics))

    @property
    def example(self) -> Inputs:
        """Two rows of inputs, to trace a model with."""
        return take(self.inputs, slice(0, 2))

    def batches(self, seed: int, steps: int, batch: int) -> Int[Tensor, "steps batch"]:
        """Return the examples of each step, every example once an epoch in random order.

        Args:
            seed: The seed of the order.
            steps: Number of steps.
            batch: Examples a step; those left over at the end of an epoch are dropped.

        Raises:
            MutransferError: a batch is larger than the data.
        """
        examples = length(self.inputs)
        check_size(self.name, examples, batch)
        generator = torch.Generator().manual_seed(seed)
        per_epoch = examples // batch
        epochs = [
            torch.randperm(examples, generator=generator)[: per_epoch * batch]
            for _ in range(-(-steps // per_epoch))
        ]
        return torch.cat(epochs).view(-1, batch)[:steps]

    def feed(self, seed: int, steps: int, batch: int) -> Feed:
        """Return the batches of one run: `feed[step]` is (inputs, targets).

        Args:
            seed: The seed of the order.
            steps: Number of steps.
            batch: Examples a step.

        Raises:
            MutransferError: a batch is larger than the data.
        """
        order = self.batches(seed, steps, batch)

        def read(step: int) -> Batch:
            return take(self.inputs, order[step]), self.targets[order[step]]

        return Feed(self.name, steps, batch, read)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return self is other or (
            (self.name, self.loss, self.metrics) == (other.name, other.loss, other.metrics)
            and are_equal(self.inputs, other.inputs)
            and are_equal(self.targets, other.targets)
            and same_validation(self.validation, other.validation)
        )

    def __hash__(self) -> int:
        # The data itself is left to `==`: hashing it would read all of it.
        return hash((self.name, shapes(self.inputs), shapes(self.targets)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        make, arguments = _CALLS.get(self.name, (None, ()))
        # A copy with other data or another loss may bear the name of a task at hand.
        if make is not None and _AT_HAND.get(self.name) is self:
            return loaded_again, (self.name, make, arguments)
        return super().__reduce_ex__(protocol)


_AT_HAND: WeakValueDictionary[str, Task] = WeakValueDictionary()
"""The tasks that were loaded by a function of the library, while anybody has them."""

_CALLS: dict[str, tuple[Callable[..., Task], tuple[Any, ...]]] = {}
"""The function that loads each of these tasks, and its arguments."""


def at_hand(name: str) -> Task | None:
    """Return the task of this name if it is loaded."""
    return _AT_HAND.get(name)


def travels_as(task: Task, make: Callable[..., Task], *arguments: Any) -> Task:
    """Return the task, which from now on is pickled as the call that loads it.

    Args:
        task: The task.
        make: A function of the library that loads it.
        arguments: The function's arguments.
    """
    _AT_HAND[task.name], _CALLS[task.name] = task, (make, arguments)
    return task


def loaded_again(name: str, make: Callable[..., Task], arguments: tuple[Any, ...]) -> Task:
    """Return the task that was pickled as a call.

    Args:
        name: The name that it had.
        make: The function that loads it.
        arguments: The function's arguments.

    Raises:
        MutransferError: its file is another one by now, or is not there.
    """
    known = at_hand(name)
    task = make(*arguments) if known is None else known
    if task.name != name:
        raise MutransferError(
            f"the data is not what it was: it was {name!r} and loads as {task.name!r}; give the "
            "file that it was made from"
        )
    return task


def same_validation(first: Batch | None, second: Batch | None) -> bool:
    """Return True where two tasks keep the same data apart."""
    if first is None or second is None:
        return first is second
    return are_equal(first[0], second[0]) and are_equal(first[1], second[1])
