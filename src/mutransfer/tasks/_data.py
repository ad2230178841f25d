"""Tasks: real data that is always at hand, and the loss to train on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..core import MutransferError, needs
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
    """

    name: str
    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    loss: Callable[[Any, Tensor], Tensor]

    def batches(self, seed: int, steps: int, batch: int) -> Int[Tensor, "steps batch"]:
        """Return the examples of each step, every example once an epoch in random order.

        Args:
            seed: The seed of the order.
            steps: Number of steps.
            batch: Examples a step; those left over at the end of an epoch are dropped.

        Raises:
            MutransferError: a batch is larger than the data.
        """
        examples = len(self.inputs)
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
            and _equal(self.inputs, other.inputs)
            and _equal(self.targets, other.targets)
        )

    def __hash__(self) -> int:
        # The data itself is left to `==`: hashing it would read all of it.
        return hash((self.name, self.inputs.shape, self.targets.shape))

    def __reduce_ex__(self, protocol: Any) -> Any:
        make, arguments = _AT_HAND.get(self.name, (None, ()))
        # A copy with other data or another loss may bear the name of a task at hand.
        if make is not None and make(*arguments) is self:
            return make, arguments
        return super().__reduce_ex__(protocol)


_AT_HAND: dict[str, tuple[Callable[..., Task], tuple[Any, ...]]] = {}
"""The cached function that makes each named task, and its arguments."""


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def cross_entropy(output: Any, targets: Int[Tensor, "*rows"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats; classes are the last dimension.

    Args:
        output: The logits, (*rows, classes), or an output that has them (`main_tensor`).
        targets: The classes, (*rows).

    Raises:
        MutransferError: the output has no tensor.
    """
    logits = main_tensor(output)
    if logits is None:
        raise MutransferError(
            f"the model's output is a {type(output).__name__} without a tensor, and the loss needs "
            "logits: return them, or give the task a loss of your own"
        )
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


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
