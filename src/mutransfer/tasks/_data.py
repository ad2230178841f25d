"""Tasks: real data that is always at hand, and the loss to train on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..core import FrozenDict, MutransferError, needs
from ._outputs import main_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Data and a loss.

    Tasks are equal where name, loss and data are. A task that is always at hand is pickled as its
    name, others with their data.

    Attributes:
        name: Short name; it is part of a sweep's record.
        inputs: One row an example, (examples, ...).
        targets: One row an example, (examples, ...).
        loss: Maps what a model returns and the targets of one batch to a scalar, the batch's mean.
        validation: Inputs and targets of data kept apart.
        metrics: Functions as `loss` by name, such as accuracy; means over the examples.
    """

    name: str
    inputs: Any = field(repr=False)
    targets: Tensor = field(repr=False)
    loss: Callable[..., Tensor]
    validation: tuple[Any, Tensor] | None = field(default=None, repr=False)
    metrics: Mapping[str, Callable[[Any, Tensor], Tensor]] = field(default_factory=FrozenDict)

    def feed(self, seed: int, steps: int, batch: int) -> Feed:
        """Return the batches of each step; the arguments are those of `batches`."""
        return Feed(self, self.batches(seed, steps, batch))

    def batches(self, seed: int, steps: int, batch: int) -> Int[Tensor, "steps batch"]:
        """Return the examples of each step, every example once an epoch in random order.

        Args:
            seed: The seed of the order.
            steps: Number of steps.
            batch: Examples a step; those left over at the end of an epoch are dropped.

        Raises:
            MutransferError: a batch is larger than the data.
        """
        examples = len(self.targets)
        if not 0 < batch <= examples:
            raise MutransferError(
                f"task {self.name} has {examples} examples, so a batch cannot have {batch}; "
                f"choose from 1 to {examples}"
            )
        generator = torch.Generator().manual_seed(seed)
        per_epoch = examples // batch
        epochs = [
            torch.randperm(examples, generator=generator)[: per_epoch * batch]
            for _ in range(-(-steps // per_epoch))
        ]
        return torch.cat(epochs).view(-1, batch)[:steps]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return self is other or (
            (self.name, self.loss) == (other.name, other.loss)
            and _equal_inputs(self.inputs, other.inputs)
            and _equal(self.targets, other.targets)
        )

    def __hash__(self) -> int:
        # The data itself is left to `==`: hashing it would read all of it.
        return hash((self.name, self.targets.shape))

    def __reduce_ex__(self, protocol: Any) -> Any:
        make, arguments = _AT_HAND.get(self.name, (None, ()))
        # A copy with other data or another loss may bear the name of a task at hand.
        if make is not None and make(*arguments) is self:
            return make, arguments
        return super().__reduce_ex__(protocol)


@dataclass(frozen=True, eq=False)
class Feed:
    """The batches of a training: feed[step] is the inputs and targets of one."""

    task: Task
    rows: Int[Tensor, "steps batch"]

    def __getitem__(self, step: int) -> tuple[Any, Tensor]:
        rows, inputs = self.rows[step], self.task.inputs
        if isinstance(inputs, Mapping):
            return {key: value[rows] for key, value in inputs.items()}, self.task.targets[rows]
        return inputs[rows], self.task.targets[rows]


_AT_HAND: dict[str, tuple[Callable[..., Task], tuple[Any, ...]]] = {}
"""The cached function that makes each named task, and its arguments."""


def _equal_inputs(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return isinstance(a, Tensor) and isinstance(b, Tensor) and _equal(a, b)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def cross_entropy(
    output: Any, targets: Int[Tensor, "*rows"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats; classes are the last dimension.

    Args:
        output: The logits, (*rows, classes), or an output that has them (`main_tensor`).
        targets: The classes, (*rows).
        label_smoothing: Share of the uniform distribution in the targets.

    Raises:
        MutransferError: the output has no tensor.
    """
    logits = main_tensor(output)
    if logits is None:
        raise MutransferError(
            f"the model's output is a {type(output).__name__} without a tensor, and the loss needs "
            "logits: return them, or give the task a loss of your own"
        )
    return F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), label_smoothing=label_smoothing
    )


@cache
def digits() -> Task:
    """Return scikit-learn's handwritten digits: 1,797 images of 10 classes.

    Images are vectors (64,), shifted and scaled to zero mean and unit variance overall.

    Raises:
        MutransferError: scikit-learn is not installed.
    """
    with needs("the task digits", "scikit-learn", "tasks"):
        from sklearn.datasets import load_digits
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32)
    task = Task(
        name="digits",
        inputs=(images - images.mean()) / images.std(),
        targets=torch.tensor(data.target).long(),
        loss=cross_entropy,
    )
    _AT_HAND[task.name] = (digits, ())
    return task


def text(path: str | Path, context: int = 64) -> Task:
    """Return next-byte prediction on a text file, in windows of (context,) bytes.

    Raises:
        MutransferError: the file cannot be read or is too short.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MutransferError(
            f"cannot read the text file {path}: {error.strerror or error}"
        ) from None
    return _windows(Path(path).name, data, context)


def pydocs(context: int = 64) -> Task:
    """Return next-byte prediction on Python's language reference, in English.

    The text, about 0.7 MB, ships with CPython.
    """
    return _pydocs(context)


@cache
def _pydocs(context: int) -> Task:
    # The cache is here, as it would tell `pydocs()` from `pydocs(64)`.
    from pydoc_data.topics import topics

    data = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    task = _windows("pydocs", data, context)
    _AT_HAND[task.name] = (pydocs, (context,))
    return task


def _windows(name: str, data: bytes, context: int) -> Task:
    if len(data) <= context:
        raise MutransferError(f"{name} has {len(data)} bytes, too few for a context of {context}")
    tokens = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
    windows = tokens.unfold(0, context + 1, 1)
    name = f"{name}, context {context}, {hashlib.sha256(data).hexdigest()[:8]}"
    return Task(name=name, inputs=windows[:, :-1], targets=windows[:, 1:], loss=cross_entropy)


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "pydocs": pydocs}


def task(name: str) -> Task:
    """Return the task of this name, or of the text file of this path.

    On a text file the task is next-byte prediction.

    Raises:
        MutransferError: there is no such task or file.
    """
    if name in TASKS:
        return TASKS[name]()
    if Path(name).suffix or Path(name).is_file():
        return text(name)
    raise MutransferError(
        f"unknown task {name!r}; choose one of {', '.join(TASKS)}, or give the path of a text file"
    )
