"""Values of axes and hyperparameters: lists of them, and the powers of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from torch import nn

from ..core import MutransferError
from ..pytorch import builder_name


def log2(low: int, high: int) -> list[float]:
    """Return the powers of two 2^low, ..., 2^high, one an octave.

    >>> log2(-3, -1)
    [0.125, 0.25, 0.5]

    Raises:
        MutransferError: a power is no whole number, or high lies below low.
    """
    if not all(_is_whole(power) for power in (low, high)):
        raise MutransferError(
            f"log2({low!r}, {high!r}): give whole powers of two{_powers_for(low, high)}, or the "
            "rates themselves: lr=[...]"
        )
    if high < low:
        raise MutransferError(f"log2({low}, {high}) is empty: give the lower power first")
    return [2.0**power for power in range(int(low), int(high) + 1)]


def is_list(values: Any) -> bool:
    """Return True for several values, False for a single one."""
    return hasattr(values, "__len__") and not isinstance(values, str | dict)


def as_recorded(value: Any) -> Any:
    """Return a value as a record has it: functions by name, what JSON lacks as text.

    >>> as_recorded(math.cos), as_recorded(0.5), as_recorded((1, 2))
    ('cos', 0.5, '(1, 2)')
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    if not callable(value) or isinstance(value, nn.Module):
        return str(value)
    name = getattr(value, "__qualname__", "<")
    # Lambdas and local functions share names, and a partial has none: what they hold tells more.
    return builder_name(value) if "<" in name else str(value.__name__)


def as_own(value: Any) -> Any:
    """Return an array as a list, and a number of numpy or torch as Python's own."""
    if isinstance(value, list):
        return [as_own(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def check_grid(name: str, values: Sequence[float], *, whole: bool) -> None:
    """Raise unless these are positive numbers in ascending order.

    Raises:
        MutransferError: naming what is wrong.
    """
    if not is_list(values):
        raise MutransferError(f"{name} is {values!r}: give a list, such as [{values}]")
    if len(values) == 0:
        raise MutransferError(f"{name} is empty: give at least one value")
    if not all(_is_number(value) and math.isfinite(value) and value > 0 for value in values):
        raise MutransferError(f"{name} has values that are not positive: {list(values)}")
    if whole and not all(value == int(value) for value in values):
        raise MutransferError(f"{name} has values that are no whole numbers: {list(values)}")
    check_order(name, values)


def check_order(name: str, values: Sequence[Any]) -> None:
    """Raise unless numbers ascend, and other values have no repetitions.

    Raises:
        MutransferError: naming the values.
    """
    numbers = all(_is_number(value) for value in values)
    if numbers and any(b <= a for a, b in pairwise(values)):
        raise MutransferError(
            f"{name} is not in ascending order: {list(values)}; sort it and remove repetitions"
        )
    if len(set(values)) < len(values):
        raise MutransferError(f"{name} has repetitions: {list(values)}")


def _is_whole(power: Any) -> bool:
    return _is_number(power) and math.isfinite(power) and power == int(power)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _powers_for(low: Any, high: Any) -> str:
    """Return a call of `log2` for two rates, in words."""
    if not all(_is_number(rate) and 0 < rate < math.inf for rate in (low, high)):
        return ", such as log2(-14, -3)"
    return f", such as log2({math.floor(math.log2(low))}, {math.ceil(math.log2(high))})"
