"""Sizes of a study: a grid or a list, and their meaning for model and task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from itertools import product
from typing import Any

from ..core import FrozenDict, MutransferError, Size
from ..pytorch import seeded
from ..tasks import Stream, Task, pydocs, text
from ..tasks import task as find_task
from ._columns import check_names
from ._fields import Data, Fields
from ._hyperparameters import sets
from ._values import check_grid, is_list

TRAINING = ("batch", "steps")
"""Axes of training, which the builder does not see."""

_FIELDS = ("width", "depth", "context", "batch", "steps")
"""Axes that are arguments of a study, in the order of a size."""


def normalised(study: Fields) -> dict[str, Any]:
    """Return the fields of axes: lists as tuples of whole numbers, sizes as sizes.

    Raises:
        MutransferError: naming the axis and what is wrong with it.
    """
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(study, name)
        if is_list(value) or (name in {"width", "depth"} and value is not None):
            fields[name] = _grid(name, value)
        elif name == "steps" and value == 0:
            raise MutransferError("steps is 0: train at least one step")
        elif value is not None:
            _grid(name, [value])
    if isinstance(study.axes, Mapping):
        check_names("an axis", [name for name in study.axes if name not in _FIELDS])
        fields["axes"] = FrozenDict({name: _grid(name, study.axes[name]) for name in study.axes})
        if twice := [name for name in study.axes if name in _FIELDS]:
            raise MutransferError(f"axes has {twice[0]!r}, an argument: give {twice[0]}=[...]")
    else:
        fields["axes"] = _listed(study)
        if grid := [name for name in _FIELDS if name in fields]:
            raise MutransferError(
                f"axes lists whole sizes, and {grid[0]} is a grid: leave out {grid[0]}="
            )
    if not any(name in fields for name in _FIELDS) and not fields["axes"]:
        raise MutransferError("the study has no sizes: give width=[...], depth=[...] or axes=")
    return fields


def _grid(name: str, values: Any) -> tuple[int, ...]:
    check_grid(name, values, whole=True)
    return tuple(int(value) for value in values)


def _listed(study: Fields) -> tuple[Size, ...]:
    given: Any = study.axes
    if wrong := [size for size in given if not isinstance(size, Mapping)]:
        raise MutransferError(
            f"axes has the size {wrong[0]!r}: give sizes by name, such as "
            '{"width": 64, "depth": 2}'
        )
    sizes = [Size({axis: _grid(axis, [v])[0] for axis, v in dict(s).items()}) for s in given]
    if len({tuple(size) for size in sizes}) > 1:
        raise MutransferError(
            f"the sizes have different axes: {sizes[0]} and "
            f"{next(size for size in sizes if tuple(size) != tuple(sizes[0]))}"
        )
    return tuple(sorted(dict.fromkeys(sizes)))


def sizes(study: Fields) -> list[Size]:
    """Return all sizes of a study, from small to large."""
    if isinstance(study.axes, tuple):
        return list(study.axes)
    grid = {n: getattr(study, n) for n in _FIELDS if isinstance(getattr(study, n), tuple)}
    grid |= study.axes
    return [Size(dict(zip(grid, values, strict=True))) for values in product(*grid.values())]


def base_of(study: Fields) -> Size:
    """Return the base's size, the smallest of the study along axes that are not given.

    Raises:
        MutransferError: it has an unknown axis, or is larger than a size of the study.
    """
    known = sizes(study)
    smallest = {axis: min(size[axis] for size in known) for axis in known[0]}
    if not isinstance(study.base or {}, Mapping):
        raise MutransferError(f"base is {study.base!r}: give its size by name, such as {smallest}")
    base = smallest | dict(study.base or {})
    if extra := base.keys() - smallest.keys():
        raise MutransferError(
            f"base has {', '.join(sorted(extra))}: it takes {' and '.join(smallest)}"
        )
    for axis, value in base.items():
        check_grid(f"base {axis}", [value], whole=True)
        # A larger batch may come with fewer steps.
        if value > smallest[axis] and axis not in TRAINING:
            raise MutransferError(
                f"base {axis} is {value}, larger than the smallest {axis} of the study"
            )
    return Size({axis: int(value) for axis, value in base.items()})


def arguments(study: Fields, size: Size, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the builder is called with at one size."""
    given: dict[str, Any] = {axis: v for axis, v in size.items() if axis not in TRAINING}
    if study.context is not None:
        given.setdefault("context", study.context)
    if "context" in given and not takes(study.build, "context"):
        # A model without positions serves sequences of any length.
        del given["context"]
    keywords = {name: value for name, value in settings.items() if sets(name) == "builder"}
    if study.train is not None:
        # The others are the training function's own.
        keywords = {name: v for name, v in keywords.items() if takes(study.build, name)}
    return given | keywords


def takes(function: Callable[..., Any] | None, name: str) -> bool:
    """Return True if a function takes a keyword of this name."""
    if function is None:
        return False
    parameters = signature(function).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    return name in parameters or Parameter.VAR_KEYWORD in kinds


def checked_task(study: Fields) -> Data | Callable[..., Data] | None:
    """Return the task of a study, or the function of the context that makes it.

    None for a training loop of one's own that gives no task.

    Raises:
        MutransferError: the task is unknown, or a context is given for a task that has its own.
    """
    if study.task is None and study.train is not None:
        return None
    given = "digits" if study.task is None else study.task
    name = str(given)
    if not isinstance(given, str | Task | Stream) and not callable(given):
        raise MutransferError(
            f"task is {given!r}: give a Task, the name of one, the path of a text file, or a "
            "function of the context that returns a Task"
        )
    if study.context is None and "context" not in sizes(study)[0]:
        return find_task(name) if isinstance(given, str) else given
    if isinstance(given, str):
        return pydocs if given == "pydocs" else partial(text, name.removeprefix("text:"))
    if not callable(given):
        raise MutransferError(
            f"the study has a context, and the task {given.name} has a length of its own: give "
            "task= a function of the context that returns a Task"
        )
    return given


def task_at(study: Fields, size: Size) -> Data:
    """Return the task of a study at one size.

    Raises:
        MutransferError: it trains in a loop of its own, and has none.
    """
    if study.task is None:
        raise MutransferError(
            "the study has no task, as it trains in a loop of its own: give task="
        )
    if not callable(study.task):
        return study.task
    context = size.get("context", study.context)
    keyword = {} if context is None else {"context": context}
    return _made(study.task, FrozenDict(keyword))


_MADE: dict[tuple[int, Mapping[str, Any]], tuple[Callable[..., Data], Data]] = {}
"""Tasks by function and arguments; objects that are called may have no hash."""


def _made(function: Callable[..., Data], arguments: Mapping[str, Any]) -> Data:
    key = id(function), arguments
    if key not in _MADE:
        # Data that is drawn is drawn alike in every process, and moves no other draw.
        with seeded(0):
            # With the function, so that no other one gets its id.
            _MADE[key] = function, function(**arguments)
    return _MADE[key][1]


def length(study: Fields, size: Size) -> int:
    """Return the number of optimizer steps at one size."""
    return int(size.get("steps", study.steps))  # type: ignore[arg-type]


def evaluations(study: Fields, size: Size) -> int:
    """Return the number of evaluations of a run, given validation data."""
    every = study.evaluate
    return 1 if every is None else math.ceil(length(study, size) / every)


def batch_at(study: Fields, size: Size) -> int:
    """Return the number of examples a step at one size."""
    return int(size.get("batch", study.batch))  # type: ignore[arg-type]
