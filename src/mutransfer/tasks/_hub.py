"""Tasks from Hugging Face's datasets."""

from __future__ import annotations

from typing import Any

from ..core import MutransferError, needs
from ._data import bytes_task
from ._images import image_task
from ._pictures import LABELS, PICTURES, Pictures, column
from ._split import checked_fraction
from ._task import Task, travels_as

TEXT = ("text", "content")
"""Names of the column of text."""


def hub(
    name: str,
    split: str = "train",
    context: int = 64,
    size: int | None = None,
    validation: float | str = 0.0,
) -> Task:
    """Return the task of a data set of Hugging Face's, by name or folder.

    Columns of pictures and labels make a classification, as `images`; a column of text makes
    next-byte prediction, as `text`.

    Args:
        name: What `datasets.load_dataset` finds it by.
        split: The part of the data set to train on.
        context: Bytes of a window of text.
        size: Side to which pictures are scaled.
        validation: Fraction that is kept apart from training; for pictures also the name of
            another split.

    Raises:
        MutransferError: datasets is not installed, the data set cannot be loaded, or its columns
            are others.
    """
    data = _loaded(name, split)
    found = _pictures(data, name)
    if found is None:
        # A fraction alone keeps a part of a text apart, which `bytes_task` checks.
        task = bytes_task(name, _text(data, name), context, validation)  # type: ignore[arg-type]
    elif isinstance(validation, str):
        apart = _pictures(_loaded(name, validation), f"{name} {validation}")
        if apart is None:
            raise MutransferError(f"the split {validation} of hf:{name} has no pictures")
        task = image_task(found, size, apart)
    else:
        task = image_task(found, size, checked_fraction(validation))
    return travels_as(task, hub, name, split, context, size, validation)


def _loaded(name: str, split: str) -> Any:
    with needs(f"the task hf:{name}", "datasets", "hf"):
        from datasets import load_dataset
    try:
        return load_dataset(name, split=split)
    except Exception as error:  # of a network, a file, a script or a name
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MutransferError(f"cannot load the split {split} of hf:{name}: {reason}") from error


def _pictures(data: Any, name: str) -> Pictures | None:
    picture, label = column(data.column_names, PICTURES), column(data.column_names, LABELS)
    if picture is None or label is None:
        return None
    return Pictures(name, list(data[picture]), [int(value) for value in data[label]])


def _text(data: Any, name: str) -> bytes:
    words = column(data.column_names, TEXT)
    if words is None:
        raise MutransferError(
            f"hf:{name} has columns {', '.join(data.column_names)}, and none of pictures with "
            "labels or of text: make a mutransfer.Task of its columns"
        )
    return "\n\n".join(data[words]).encode()
