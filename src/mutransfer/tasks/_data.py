"""Tasks: real data that is always at hand, and the loss to train on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..core import MutransferError


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Data and a loss.

    Attributes:
        name: Short name; it is part of a sweep's record.
        inputs: One row an example, (examples, ...).
        targets: One row an example, (examples, ...).
        loss: Maps a model's output and the targets of one batch to a scalar, the mean over the batch.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def batches(self, seed: int, steps: int, batch: int) -> Int[Tensor, "steps batch"]:
        """Which examples each step sees: every example once an epoch, in an order drawn from the seed.

        Raises:
            MutransferError: a batch is larger than the data.
        """
        examples = len(self.inputs)
        if not 0 < batch <= examples:
            raise MutransferError(
                f"task {self.name} has {examples} examples, so a batch cannot have {batch}; choose from 1 to {examples}"
            )
        generator = torch.Generator().manual_seed(seed)
        per_epoch = examples // batch
        epochs = [
            torch.randperm(examples, generator=generator)[: per_epoch * batch]
            for _ in range(-(-steps // per_epoch))
        ]
        return torch.cat(epochs).view(-1, batch)[:steps]


def cross_entropy(
    output: Float[Tensor, "*rows classes"], targets: Int[Tensor, "*rows"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of logits whose last dimension is the class."""
    return F.cross_entropy(output.flatten(0, -2), targets.flatten())


@cache
def digits() -> Task:
    """Scikit-learn's handwritten digits: 1,797 images as (64,) vectors of zero mean and unit variance overall, 10 classes.

    Raises:
        MutransferError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MutransferError(
            "the task digits needs scikit-learn: pip install 'mutransfer[tasks]'"
        ) from None
    data = load_digits()
    images = torch.tensor(data.data, dtype=torch.float32)
    return Task(
        name="digits",
        inputs=(images - images.mean()) / images.std(),
        targets=torch.tensor(data.target).long(),
        loss=cross_entropy,
    )


def text(path: str | Path, context: int = 64) -> Task:
    """Next-byte prediction on a text file: inputs and targets are windows of (context,) bytes.

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


@cache
def pydocs(context: int = 64) -> Task:
    """Next-byte prediction on the Python language reference that ships with CPython (English, about 0.7 MB)."""
    from pydoc_data.topics import topics

    return _windows(
        "pydocs", "\n\n".join(topics[name] for name in sorted(topics)).encode(), context
    )


def _windows(name: str, data: bytes, context: int) -> Task:
    if len(data) <= context:
        raise MutransferError(f"{name} has {len(data)} bytes, too few for a context of {context}")
    tokens = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
    windows = tokens.unfold(0, context + 1, 1)
    name = f"{name}, context {context}, {hashlib.sha256(data).hexdigest()[:8]}"
    return Task(name=name, inputs=windows[:, :-1], targets=windows[:, 1:], loss=cross_entropy)


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "pydocs": pydocs}


def task(name: str) -> Task:
    """The task of this name, or next-byte prediction on the text file of this path.

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
