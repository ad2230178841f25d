"""The values that a loss holds: those that it changes, and those it would train."""

from __future__ import annotations

import functools
import itertools
import pickle
import random
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from logging import Logger
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import MutransferError
from ..tasks import Loss, Stream, Task
from ._held import Kept, changed, writes
from ._reached import reached

_PLAIN = bool | int | float | complex | str | bytes | None | np.generic | Enum
"""Values without parts."""

_DRAWING = (
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    torch.Generator,
    itertools.count,
)
"""Objects that show their state when they are pickled."""

_DEEPEST = 6
"""Objects within objects that are looked into."""

_OURS = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Folders whose functions hold nothing of a user's."""

_STANDARD = Path(sysconfig.get_path("stdlib"))
"""The folder of Python's own modules, in which others may be installed."""

_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that torch gives every module."""


class SharedLossError(MutransferError):
    """A loss changes what all runs would share, as no copy has its own."""


def kept(loss: Loss) -> Mapping[str, Any]:
    """Return what a loss holds, by name, to be compared with what it holds later."""
    return {
        name: Kept(value, writes(value)) if isinstance(value, Tensor) else value
        for name, value in _leaves(loss).items()
    }


@contextmanager
def alone(task: Task | Stream, loss: Loss) -> Iterator[None]:
    """Raise where a step trains the loss of a run, or changes that of the task.

    Args:
        task: The task, whose loss other runs copy.
        loss: The loss of the run, a copy if there can be one.

    Raises:
        MutransferError: naming what it would train or changes.
    """
    before = kept(task.loss)
    trained = {
        name: value
        for name, value in _leaves(loss).items()
        if isinstance(value, Tensor) and value.requires_grad and value.is_leaf
    }
    with reached(trained) as found:
        yield
    if found:
        raise MutransferError(
            f"the loss of task {task.name} would have to train {found[0]}, which no plan has: make "
            "it a parameter of the model, whose forward pass returns it with its output, or let "
            "it require no gradient"
        )
    check_unchanged(task, before)


def check_unchanged(task: Task | Stream, before: Mapping[str, Any]) -> None:
    """Raise if the loss of a task, which runs copy, holds other values than before.

    Raises:
        SharedLossError: naming one of them.
    """
    if (name := changed(before, kept(task.loss))) is not None:
        raise SharedLossError(
            f"the loss of task {task.name} changes {name}, which all runs would share: write it "
            "as a module, or as an object with __call__, that holds what it changes and that "
            "copy.deepcopy copies, so that each run has its own"
        )


def _leaves(loss: Loss) -> dict[str, Any]:
    """Return numbers, texts, tensors and generators that a loss holds, by name."""
    return dict(_of("", loss, 0, set()))


def _of(name: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a value.

    Args:
        name: Its name.
        value: The value.
        depth: Number of objects around it.
        seen: The ids of objects that were looked into.
    """
    if isinstance(value, _PLAIN | Tensor):
        yield name, value
    elif isinstance(value, np.ndarray):
        yield name, (value.shape, value.dtype.str, value.tobytes())
    elif isinstance(value, _DRAWING):
        yield name, pickle.dumps(value)
    elif id(value) not in seen and depth < _DEEPEST:
        seen.add(id(value))
        for key, part in _parts(value):
            yield from _of(f"{name}{key}".lstrip("."), part, depth + 1, seen)


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the parts of an object."""
    match value:
        case Mapping():
            return [(f"[{key!r}]", part) for key, part in value.items()]
        case list() | tuple() | deque():
            return [(f"[{number}]", part) for number, part in enumerate(value)]
        case set() | frozenset():
            return [(f"[{n}]", part) for n, part in enumerate(sorted(value, key=repr))]
        case functools.partial():
            return [("", value.func), ("", value.args), ("", value.keywords)]
        case MethodType():
            return [("", value.__self__), ("", value.__func__)]
        case FunctionType():
            return _of_function(value)
        case type() | ModuleType() | BuiltinFunctionType() | Logger():
            return ()
        case nn.Module():
            own = value._parameters | value._buffers | value._modules
            plain = {key: v for key, v in vars(value).items() if key not in _OF_MODULES}
            return _named({**own, **plain})
    return _named(getattr(value, "__dict__", {}))


def _named(parts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(f".{key}", part) for key, part in parts.items()]


def _of_function(function: FunctionType) -> list[tuple[str, Any]]:
    """Return closure, defaults and global variables of a user's function."""
    if not _is_foreign(function.__code__.co_filename):
        return []
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    parts = [(f".{name}", part) for name, cell in cells for part in _contents(cell)]
    parts += [("", function.__defaults__), ("", function.__kwdefaults__)]
    names = [name for name in _names(function.__code__) if name in function.__globals__]
    values = {name: function.__globals__[name] for name in names}
    # Other objects of a file are caches, registers and meters more often than state.
    held = {n: v for n, v in values.items() if isinstance(v, _PLAIN | Tensor) or callable(v)}
    return [*parts, *_named(held)]


def _contents(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _names(code: CodeType) -> list[str]:
    """Return the global variables that a function and those within it name."""
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return [*code.co_names, *(name for part in inner for name in _names(part))]


@functools.cache
def _is_foreign(filename: str) -> bool:
    """Return True for a file that is neither torch's, Python's nor ours."""
    path = Path(filename)
    of_python = path.is_relative_to(_STANDARD) and "site-packages" not in path.parts
    return not of_python and not any(map(path.is_relative_to, _OURS))
