"""Arguments of a Problem, checked and turned into arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array

Schedule = Callable[[int], float] | Sequence[float]
"""The factor of the rate: a function of the step, or one number a step."""


def floats(name: str, given: object) -> Array:
    """Return a copy as an array of double precision.

    Raises:
        MutransferError: it holds something else than finite numbers.
    """
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise MutransferError(f"{name} are not numbers: give an array") from None
    if not np.isfinite(array).all():
        raise MutransferError(f"{name} hold a number that is not finite")
    return array


def examples(
    inputs: object, targets: object
) -> tuple[Float[Array, "examples dimension"], Float[Array, " examples"]]:
    """Return inputs and targets as read-only arrays; a vector is taken as D = 1.

    Raises:
        MutransferError: there are no examples, or the shapes do not belong together.
    """
    x, y = floats("inputs", inputs), floats("targets", targets)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or not x.size:
        raise MutransferError(
            f"inputs have the shape {x.shape}: give at least one example, as (examples, dimension)"
        )
    if y.shape != (len(x),):
        raise MutransferError(
            f"targets have the shape {y.shape}, but there are {len(x)} inputs: give ({len(x)},)"
        )
    # A problem is hashed by its content.
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def nonnegative(name: str, value: object) -> float:
    """Return a number from 0 on.

    Raises:
        MutransferError: it is no number, not finite, or negative.
    """
    number = _number(name, value)
    if not (math.isfinite(number) and number >= 0):
        raise MutransferError(f"{name} is {value}: it must be finite and not negative")
    return number


def positive(name: str, value: object) -> float:
    """Return a number above 0.

    Raises:
        MutransferError: it is no number, not finite, or not positive.
    """
    number = _number(name, value)
    if not (math.isfinite(number) and number > 0):
        raise MutransferError(f"{name} is {value}: it must be finite and positive")
    return number


def _number(name: str, value: object) -> float:
    if not isinstance(value, Real):
        raise MutransferError(f"{name} is {value!r}: give a number")
    return float(value)


def whole_steps(steps: object) -> int:
    """Return the number of steps.

    Raises:
        MutransferError: it is no whole number from 0 on.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 0:
        raise MutransferError(f"steps is {steps!r}: give a whole number, not negative")
    return int(steps)


def factors(schedule: Schedule | None, steps: int) -> Float[Array, " steps"]:
    """Return the factor of the learning rate at every step.

    Raises:
        MutransferError: a factor is missing, negative or no finite number.
    """
    if schedule is None:
        return np.ones(steps)
    values = [schedule(step) for step in range(steps)] if callable(schedule) else schedule
    array = floats("schedule", values)
    if array.shape != (steps,):
        raise MutransferError(
            f"schedule has the shape {array.shape}, but there are {steps} steps: give ({steps},)"
        )
    if (array < 0).any():
        raise MutransferError(
            f"schedule has the factor {array.min():g}: factors cannot be negative"
        )
    return array


def batch_weights(
    batches: Sequence[Sequence[int]] | None, steps: int, examples: int
) -> Float[Array, "steps examples"]:
    """Return the weight of every example in every step's loss; each row sums to 1.

    Raises:
        MutransferError: batches differ in size or number, or name an example that there is not.
    """
    if batches is None:
        return np.full((steps, examples), 1 / examples)
    wanted = f"give whole numbers, ({steps}, batch)"
    try:
        rows = np.asarray(batches)
    except ValueError:
        raise MutransferError(f"batches differ in size: {wanted}") from None
    whole = np.issubdtype(rows.dtype, np.integer)
    if rows.ndim != 2 or len(rows) != steps or not rows.size or not whole:
        raise MutransferError(f"batches have the shape {rows.shape}: {wanted}")
    if rows.min() < 0 or rows.max() >= examples:
        wrong = rows.max() if rows.max() >= examples else rows.min()
        raise MutransferError(f"batches name example {wrong} of {examples}")
    counts = [np.bincount(row, minlength=examples) / len(row) for row in rows]
    return np.array(counts, dtype=np.float64)
