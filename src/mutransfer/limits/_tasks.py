"""Problems made of a few examples of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np

from ..core import MutransferError
from ..statistics import Array
from ..tasks import Task
from ..tasks import task as find_task
from ._problem import Problem


def two_classes(
    task: str | Task, examples: int = 4, classes: tuple[int, int] = (0, 1)
) -> tuple[Array, Array]:
    """Return the first examples of two classes, with targets of 1 and -1.

    Both classes have equally many. Inputs are centred and scaled to |x|^2 = D, example by example,
    so that the features of layer 0 have unit scale.

    Args:
        task: A task whose inputs are vectors of numbers and whose targets are classes, or its name,
            such as "digits".
        examples: Number of examples, even.
        classes: The two classes.

    Returns:
        Inputs (examples, D) and targets (examples,), the classes in turn.

    Raises:
        MutransferError: the task is unknown or has no such inputs, too few examples of a class, or
            one without any contrast.
    """
    data = find_task(task) if isinstance(task, str) else task
    whole = data.targets.dim() == 1 and not data.targets.is_floating_point()
    features = data.inputs
    if isinstance(features, Mapping) or not (features.is_floating_point() and whole):
        raise MutransferError(
            f"task {data.name} has no vectors of numbers with classes; "
            "use digits, or make a limits.Problem of your data"
        )
    if classes[0] == classes[1]:
        raise MutransferError(f"classes are {classes}: give two different ones")
    if examples < 2 or examples % 2:
        raise MutransferError(
            f"examples is {examples}: give an even number, half of it for each class"
        )
    half = examples // 2
    rows = [(data.targets == label).nonzero()[:half, 0] for label in classes]
    if any(len(members) < half for members in rows):
        raise MutransferError(
            f"task {data.name} has fewer than {half} examples of class {classes[0]} or {classes[1]}"
        )
    chosen = np.stack([members.numpy() for members in rows], axis=1).ravel()
    inputs = features.flatten(1).double().numpy()[chosen]
    inputs = inputs - inputs.mean(1, keepdims=True)
    scales = np.sqrt((inputs**2).mean(1, keepdims=True))
    if not scales.all():
        raise MutransferError(
            f"task {data.name} has an example whose entries are all equal, "
            f"example {chosen[int(np.argmin(scales))]}"
        )
    return inputs / scales, np.tile([1.0, -1.0], half)


def problem_of(
    task: str | Task = "digits",
    *,
    examples: int = 4,
    classes: tuple[int, int] = (0, 1),
    lr: float = 0.05,
    steps: int = 20,
    **settings: Any,
) -> Problem:
    """Return the problem of telling two classes of a task apart.

    A task's name may be followed by settings, as on the command line; these win. A problem for the
    command line that no text can name, such as one with a schedule, takes three lines in a file:

        from mutransfer.limits import problem_of

        problem = problem_of("digits", activation="tanh", schedule=lambda step: 0.9**step)

    >>> problem_of("digits, activation=tanh, alpha=3/4, examples=2").alpha
    0.75

    Args:
        task: A task with classes, its name, or its name with settings.
        examples: Number of examples, even.
        classes: The two classes.
        lr: Learning rate.
        steps: Number of steps.
        settings: Further settings of a Problem.

    Raises:
        MutransferError: the task, a setting or its value is unknown or out of range.
    """
    if isinstance(task, str):
        task, written = settings_in(task)
    else:
        written = {}
    known = {"examples": examples, "lr": lr, "steps": steps} | settings | written
    inputs, targets = two_classes(task, known.pop("examples"), classes)
    _check_names(known)
    return Problem(inputs=inputs, targets=targets, **known)


def settings_in(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a task, and the settings that follow it.

    >>> settings_in("digits, activation=tanh, steps=30, train_input=false")
    ('digits', {'activation': 'tanh', 'steps': 30, 'train_input': False})

    Raises:
        MutransferError: a setting has no value, or is unknown.
    """
    name, *parts = (part.strip() for part in text.split(","))
    settings: dict[str, Any] = {}
    for part in parts:
        key, equals, value = (each.strip() for each in part.partition("="))
        if not (key and equals and value):
            raise MutransferError(
                f"{part!r} is no setting: write name=value, such as {name}, activation=tanh"
            )
        settings[key.replace("-", "_")] = _value(value)
    _check_names({key: value for key, value in settings.items() if key != "examples"})
    return name, settings


def _check_names(settings: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(Problem) if field.name not in ("inputs", "targets")]
    if unknown := [name for name in settings if name not in known]:
        raise MutransferError(
            f"a problem has no setting {unknown[0]!r}; choose among examples, {', '.join(known)}"
        )


def _value(text: str) -> Any:
    """Return a whole number, a number, true or false, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, Fraction):
        try:
            number = kind(text)
        except (ValueError, ZeroDivisionError):
            continue
        return number if kind is int else float(number)
    return text
