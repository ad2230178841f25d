"""Tasks of classifying pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..core import MutransferError
from ._batches import Batch
from ._pictures import Pictures, pictures
from ._scores import accuracy, cross_entropy
from ._split import Part, checked_fraction, named, set_apart
from ._task import Task, at_hand, travels_as

SIDE, CLASSES = 32, 10
"""Side and classes of CIFAR-10."""


def images(path: str | Path, size: int | None = None, validation: float | str | Path = 0.0) -> Task:
    """Return the classification of pictures of a parquet file or folder.

    A parquet file has the columns img (files as bytes) and label; a folder has a subfolder of
    pictures for each class. Inputs are (3, height, width), each channel shifted and scaled to zero
    mean and unit variance over the training data.

    Args:
        path: The file or folder.
        size: Side to which pictures are scaled; needed where their sizes differ.
        validation: Fraction that is kept apart from training, chosen at random but always the
            same; or another such file or folder.

    Raises:
        MutransferError: pillow or pyarrow is not installed, there are no such pictures, or their
            sizes differ.
    """
    where = str(Path(path).resolve())
    if isinstance(validation, str | Path):
        apart = str(Path(validation).resolve())
        task = image_task(pictures(path), size, pictures(apart))
        return travels_as(task, images, where, size, apart)
    fraction = checked_fraction(validation)
    task = image_task(pictures(path), size, fraction)
    return travels_as(task, images, where, size, fraction)


def cifar10(path: str | Path, validation: float | str | Path = 0.0) -> Task:
    """Return CIFAR-10, from a parquet file or a folder with a subfolder a class.

    It is `images`, with a check that pictures have 32 by 32 pixels and at most 10 classes.

    Args:
        path: The file or folder.
        validation: Fraction that is kept apart from training; or another file or folder, as that
            of the test data.

    Raises:
        MutransferError: as `images`, or the pictures are others.
    """
    task = images(path, None, validation)
    assert isinstance(task.inputs, Tensor)
    side, classes = task.inputs.shape[-2:], int(task.targets.max()) + 1
    if side != (SIDE, SIDE) or classes > CLASSES:
        raise MutransferError(
            f"{path} has pictures of {side[0]} by {side[1]} and {classes} classes, and CIFAR-10 "
            f"has {SIDE} by {SIDE} and {CLASSES}: use images:{path}"
        )
    return task


def image_task(found: Pictures, size: int | None, validation: float | Pictures) -> Task:
    """Return the classification of pictures, as it is at hand or decoded.

    Args:
        found: The pictures to train on.
        size: Side to which they are scaled.
        validation: Fraction that is kept apart, or the pictures to validate on.

    Raises:
        MutransferError: they cannot be decoded, or the pictures to validate on have other sizes or
            classes.
    """
    name = _name(found, size, validation)
    if known := at_hand(name):
        return known
    train, kept = _parts(found, size, validation)
    mean, deviation = _moments(train[0])
    apart: Batch | None = None
    if kept is not None:
        apart = _standardised(kept[0], mean, deviation), kept[1]
    return Task(
        name=name,
        inputs=_standardised(train[0], mean, deviation),
        targets=train[1],
        loss=cross_entropy,
        validation=apart,
        metrics={"accuracy": accuracy},
    )


def _parts(
    found: Pictures, size: int | None, validation: float | Pictures
) -> tuple[Part, Part | None]:
    """Return the pictures to train on and those kept apart, as they are encoded."""
    train = found.decoded(size), found.targets()
    if isinstance(validation, Pictures):
        return train, _alike(found, train[0], validation, size)
    return set_apart(*train, validation)


def _name(found: Pictures, size: int | None, validation: float | Pictures) -> str:
    """Return a name that tells data apart, before anything is decoded."""
    name = f"{found.name}, {len(found.labels)} pictures"
    if size is not None:
        name += f" of side {size}"
    if isinstance(validation, Pictures):
        return f"{name}, {found.digest()}, validation {validation.name}, {validation.digest()}"
    return f"{named(name, validation)}, {found.digest()}"


def _alike(found: Pictures, inputs: Tensor, validation: Pictures, size: int | None) -> Part:
    """Return the validation pictures, which must be of the same sizes and classes."""
    if found.classes != validation.classes:
        raise MutransferError(
            f"{validation.name} has classes {', '.join(validation.classes) or 'by number'}, and "
            f"{found.name} {', '.join(found.classes) or 'by number'}: give pictures of the same"
        )
    kept = validation.decoded(size)
    if kept.shape[1:] != inputs.shape[1:]:
        raise MutransferError(
            f"pictures of {validation.name} are {tuple(kept.shape[2:])}, and those of {found.name} "
            f"{tuple(inputs.shape[2:])}: give size=, the side to which they are scaled"
        )
    return kept, validation.targets()


def _moments(pixels: UInt8[Tensor, "picture 3 height width"]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, in double precision."""
    # Counts of the 256 values need no copy of the pixels in that precision.
    counts = torch.stack(
        [channel.flatten().bincount(minlength=256) for channel in pixels.unbind(1)]
    )
    values, counts = torch.arange(256).double(), counts.double()
    total = counts.sum(1)
    mean = counts @ values / total
    variance = (counts @ values.square() / total - mean.square()).clamp(min=0)
    # A channel without any contrast stays at zero.
    deviation = variance.sqrt()
    return mean, torch.where(deviation > 0, deviation, 1)


def _standardised(
    pixels: UInt8[Tensor, "picture 3 height width"], mean: Tensor, deviation: Tensor
) -> Float[Tensor, "picture 3 height width"]:
    shift, scale = (x.float().view(3, 1, 1) for x in (mean, deviation))
    return pixels.float().sub_(shift).div_(scale)
