"""A Stream: data that is read batch by batch, and the loss to train on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..core import FrozenDict
from ._batches import Batch, Feed, Inputs, Loss, are_equal, check_size, checked_batch
from ._task import same_validation


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """A loss, and data that is read batch by batch and never held in one tensor.

    Resumed training reads the same batches again, so that a batch depends on seed, step and size
    alone. Streams are equal where name, loss, metrics and the functions are.

    Attributes:
        name: Short name; it is part of a sweep's record, so that other data needs another name.
        batch: Returns the batch (inputs, targets) of (seed, step, size), always the same one.
        loss: Maps what a model returns and the targets of one batch to a scalar, the batch's mean.
        validation: Inputs and targets that are kept apart from training.
        metrics: Functions as the loss, by name, evaluated on the validation data; each is a mean
            over examples, such as `accuracy`.
        example: Two rows of inputs, to trace a model with; by default the inputs of
            `batch(0, 0, 2)`.

    Raises:
        MutransferError: the function returns something else than a batch of two.
    """

    name: str
    batch: Callable[[int, int, int], Batch] = field(repr=False)
    loss: Loss
    validation: Batch | None = field(default=None, repr=False)
    metrics: Mapping[str, Loss] = field(default_factory=FrozenDict, repr=False)
    example: Inputs = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", FrozenDict(self.metrics))
        if self.example is None:
            inputs, _ = checked_batch(self.batch(0, 0, 2), 2, f"task {self.name}, step 0")
            object.__setattr__(self, "example", inputs)

    def feed(self, seed: int, steps: int, batch: int) -> Feed:
        """Return the batches of one run: `feed[step]` is (inputs, targets).

        Args:
            seed: The seed of the data.
            steps: Number of steps.
            batch: Examples a step.

        Raises:
            MutransferError: the batch has no examples.
        """
        check_size(self.name, math.inf, batch)
        return Feed(self.name, steps, batch, lambda step: self.batch(seed, step, batch))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self is other or (
            (self.name, self.loss, self.metrics, self.batch)
            == (other.name, other.loss, other.metrics, other.batch)
            and are_equal(self.example, other.example)
            and same_validation(self.validation, other.validation)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.loss))
