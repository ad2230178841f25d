"""The arguments of a check, each refused with what to give instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import nn

from ..core import MutransferError, kind_of
from ..pytorch import build_model, recognised_families, seeded
from ..rules import Parametrization, parametrization
from ..tasks import Stream, Task
from ._diagnosis import RANGE

RATE, SGD_RATE = 2**-7, 0.1
"""Learning rates at base size where none is given."""

STEPS, RECTIFIED_STEPS = 4, 12
"""Numbers of steps where none is given; the second for RAdam."""

FEWEST_RECTIFIED = 8
"""Fewest steps of RAdam that are judged: its first five are of momentum alone.

Those answer to the gradient's scale, which the plan of an entrywise optimizer does not undo.
"""

CONTROL = parametrization("sp")
"""The rule of the negative control, whose rows are known by its name."""

OPTIONS = frozenset({"axes", "roles", "example_inputs", "hooks", "branches"})
"""Arguments that are passed on to `plan`."""

Axes = dict[str, tuple[int, ...]]


def axes_of(width: Sequence[int] | None, depth: Sequence[int] | None) -> Axes:
    """Return the sizes along each axis that was given.

    Raises:
        MutransferError: they are no sizes, too few, or too close.
    """
    given = {"width": width, "depth": depth}
    for axis, values in given.items():
        if values is not None and (
            not isinstance(values, Sequence)
            or not all(is_count(size) and size > 0 for size in values)
        ):
            raise MutransferError(
                f"{axis} is {values!r}: give a list of sizes, whole numbers above 0"
            )
    axes = {axis: tuple(map(int, values)) for axis, values in given.items() if values is not None}
    if not axes:
        raise MutransferError(
            "give widths, depths or both: coordinate_check(build, width=[64, 128, 256])"
        )
    for axis, values in axes.items():
        if len(values) < 2 or sorted(set(values)) != list(values):
            raise MutransferError(
                f"{axis} is {list(values)}: give at least two different sizes, ascending"
            )
        if axis == "depth" and values[0] < 2:
            raise MutransferError(
                f"depth starts at {values[0]}: one layer has no others to compare with, "
                "take 2 or more"
            )
        if values[-1] < RANGE * values[0]:
            raise MutransferError(
                f"{axis} goes from {values[0]} to {values[-1]}, less than {RANGE} times: "
                "too little for an exponent; spread them"
            )
    return axes


def check_arguments(rule: object, task: object, options: Mapping[str, Any]) -> None:
    """Raise unless rule, task and further arguments are those of a check.

    Raises:
        MutransferError: naming the argument.
    """
    if task is not None and not isinstance(task, str | Task | Stream):
        raise MutransferError(f"task is {kind_of(task)}: give a mutransfer.Task or the name of one")
    if isinstance(rule, Parametrization) and rule.name == CONTROL.name and rule != CONTROL:
        raise MutransferError(
            f"the rule is named {CONTROL.name!r}, as the negative control of checks: "
            "rename it, as by dataclasses.replace(rule, name=...)"
        )
    if unknown := sorted(options.keys() - OPTIONS):
        raise MutransferError(
            f"coordinate_check has no argument {unknown[0]!r}, and neither has plan"
        )


def rate_of(lr: object, optimizer: Any) -> float:
    """Return the learning rate at base size.

    Raises:
        MutransferError: it is no number, or below 0.
    """
    if lr is None:
        name = str(getattr(optimizer, "__name__", optimizer)).lower()
        return SGD_RATE if name == "sgd" else RATE
    if not isinstance(lr, Real) or not math.isfinite(lr) or lr < 0:
        raise MutransferError(f"lr is {lr!r}: give the learning rate at base size, a number from 0")
    return float(lr)


def steps_of(steps: object, optimizer: Any) -> int:
    """Return the number of steps.

    Raises:
        MutransferError: it is no number of steps, or too small for the optimizer.
    """
    families = recognised_families(optimizer).values()
    rectified = any(family.name.startswith("radam") for family in families)
    if steps is None:
        return RECTIFIED_STEPS if rectified else STEPS
    count = count_of("steps", steps)
    if rectified and count < FEWEST_RECTIFIED:
        raise MutransferError(
            f"steps is {count}, and RAdam's first 5 are of momentum alone, which answers to the "
            f"gradient's scale: give at least {FEWEST_RECTIFIED}"
        )
    return count


def check_width(build: Callable[..., nn.Module], base: nn.Module, axes: Axes) -> None:
    """Raise where the builder makes the same model at another width."""
    if "width" not in axes:
        return
    first, *_, last = axes["width"]
    sizes = {axis: values[0] for axis, values in axes.items()} | {"width": last}
    try:
        with seeded(0):
            wide = build_model(build, sizes)
    except MutransferError:
        # Such a size is left out with a note.
        return
    shapes = [[tuple(p.shape) for p in model.parameters()] for model in (base, wide)]
    if shapes[0] == shapes[1]:
        raise MutransferError(
            f"the model of width {last} has the same shapes as that of width {first}: "
            "does the builder use its width?"
        )


def is_count(value: object) -> bool:
    """Return True for a whole number, also one of numpy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def count_of(name: str, value: object) -> int:
    """Return a number of steps or seeds.

    Raises:
        MutransferError: it is no whole number of at least 1.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise MutransferError(f"{name} is {value!r}: give a whole number of at least 1")
    return int(value)
