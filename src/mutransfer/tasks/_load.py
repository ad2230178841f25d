"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from ..core import MutransferError
from ._data import digits, pydocs, text
from ._hub import hub
from ._images import cifar10, images
from ._task import Task

TASKS: dict[str, Callable[..., Task]] = {"digits": digits, "pydocs": pydocs}
"""The tasks that are always at hand."""

LOADERS: dict[str, Callable[..., Task]] = {
    "text": text,
    "cifar10": cifar10,
    "images": images,
    "hf": hub,
}
"""The functions that load a task from what follows a colon, such as `text:FILE`."""

_FORMS = (*TASKS, "text:FILE", "cifar10:FILE.parquet", "images:FOLDER", "hf:NAME")


def task(name: str, **options: Any) -> Task:
    """Return the task of this name, or of the text file of this path.

    Args:
        name: "digits", "pydocs", "text:FILE", "cifar10:FILE.parquet", "images:FOLDER", "hf:NAME",
            or the path of a text file, whose task is next-byte prediction.
        options: Arguments of the function that loads it, such as validation=0.1.

    Raises:
        MutransferError: there is no such task or file, or it takes no such option.
    """
    make, arguments = _maker(name)
    known = list(signature(make).parameters)[len(arguments) :]
    if unknown := sorted(options.keys() - set(known)):
        raise MutransferError(
            f"task {name} takes no option {unknown[0]!r}; it takes {', '.join(known)}"
        )
    return make(*arguments, **options)


def _maker(name: str) -> tuple[Callable[..., Task], tuple[str, ...]]:
    """Return the function that loads a task, and its first argument."""
    if name in TASKS:
        return TASKS[name], ()
    kind, colon, rest = name.partition(":")
    if colon and kind in LOADERS:
        if not rest:
            form = next(form for form in _FORMS if form.startswith(f"{kind}:"))
            raise MutransferError(f"task {name!r} names no data; write {form}")
        return LOADERS[kind], (rest,)
    if Path(name).suffix or Path(name).is_file():
        return text, (name,)
    raise MutransferError(
        f"unknown task {name!r}; choose one of {', '.join(_FORMS)}, or give the path of a text file"
    )
