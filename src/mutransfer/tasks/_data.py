"""Tasks: real data that is always at hand, and any text file."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core import MutransferError, needs
from ._batches import Batch
from ._scores import accuracy, cross_entropy
from ._split import checked_fraction, named, set_apart
from ._task import Task, travels_as


def digits(validation: float = 0.0) -> Task:
    """Return scikit-learn's handwritten digits: 1,797 images of 10 classes.

    Images are vectors (64,), shifted and scaled to zero mean and unit variance overall.

    Args:
        validation: Fraction of the images that is kept apart from training, chosen at random but
            always the same.

    Raises:
        MutransferError: scikit-learn is not installed, or the fraction is not from 0 to 1.
    """
    return _digits(checked_fraction(validation))


@cache
def _digits(validation: float) -> Task:
    # The cache is here, as it would tell `digits()` from `digits(0.0)`.
    table = np.loadtxt(_digits_file(), delimiter=",", dtype=np.int64)
    images = torch.tensor(table[:, :-1], dtype=torch.float32)
    images = (images - images.mean()) / images.std()
    (inputs, targets), kept = set_apart(images, torch.tensor(table[:, -1]), validation)
    task = Task(
        name=named("digits", validation),
        inputs=inputs,
        targets=targets,
        loss=cross_entropy,
        validation=kept,
        metrics={"accuracy": accuracy},
    )
    return travels_as(task, digits, *([validation] if validation else []))


def _digits_file() -> Path:
    """Return the file that scikit-learn's `load_digits` reads.

    Importing scikit-learn to read it would take as long as importing torch.
    """
    with needs("the task digits", "scikit-learn", "tasks"):
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("sklearn")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def text(path: str | Path, context: int = 64, validation: float = 0.0) -> Task:
    """Return next-byte prediction on a text file, in windows of (context,) bytes.

    Args:
        path: The file.
        context: Bytes of a window.
        validation: Fraction of the text that is kept apart from training: its end, in windows
            that do not overlap.

    Raises:
        MutransferError: the file cannot be read or is too short, or the fraction is not from 0
            to 1.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MutransferError(
            f"cannot read the text file {path}: {error.strerror or error}"
        ) from None
    return bytes_task(Path(path).name, data, context, validation)


def pydocs(context: int = 64, validation: float = 0.0) -> Task:
    """Return next-byte prediction on Python's language reference, in English.

    The text, about 0.7 MB, ships with CPython.

    Args:
        context: Bytes of a window.
        validation: Fraction of the text that is kept apart from training, as in `text`.
    """
    return _pydocs(context, checked_fraction(validation))


@cache
def _pydocs(context: int, validation: float) -> Task:
    from pydoc_data.topics import topics

    data = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    task = bytes_task("pydocs", data, context, validation)
    return travels_as(task, pydocs, context, *([validation] if validation else []))


def bytes_task(name: str, data: bytes, context: int, validation: float) -> Task:
    """Return next-byte prediction on a text, in windows of (context,) bytes.

    Args:
        name: The name of the text.
        data: The text.
        context: Bytes of a window.
        validation: Fraction of the text that is kept apart: its end.

    Raises:
        MutransferError: the text is too short, or the fraction is not from 0 to 1.
    """
    cut = len(data) - round(checked_fraction(validation) * len(data))
    inputs, targets = _windows(name, data[:cut], context, 1)
    kept: Batch | None = None
    if validation:
        kept = _windows(f"the validation part of {name}", data[cut:], context, context)
    described = named(f"{name}, context {context}", validation)
    return Task(
        name=f"{described}, {hashlib.sha256(data).hexdigest()[:8]}",
        inputs=inputs,
        targets=targets,
        loss=cross_entropy,
        validation=kept,
    )


def _windows(name: str, data: bytes, context: int, stride: int) -> tuple[Tensor, Tensor]:
    if len(data) <= context:
        raise MutransferError(f"{name} has {len(data)} bytes, too few for a context of {context}")
    tokens = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
    windows = tokens.unfold(0, context + 1, stride)
    return windows[:, :-1], windows[:, 1:]
