"""Hyperparameters that a study can sweep: their scales, and what each sets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal

from ..core import MEMORY, FrozenDict, MutransferError, Scale, frozen, has_place
from ..training import schedule
from ._values import as_recorded


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter.

    Attributes:
        sets: What it sets: a column of the "table" of tensors, a "multiplier" of the plan, an
            "option" of the optimizer, or a field of the "recipe".
        scale: The scale of its values where all are numbers that have a place there.
        neutral: The value that changes nothing; None where there is no such value.
    """

    sets: Literal["table", "multiplier", "option", "recipe"]
    scale: Scale
    neutral: Any = None


HYPERPARAMETERS: Mapping[str, Hyperparameter] = MappingProxyType(
    {
        "lr": Hyperparameter("table", "log2"),
        "weight_decay": Hyperparameter("table", "log2"),
        "eps": Hyperparameter("table", "log2"),
        "readout": Hyperparameter("multiplier", "log2", 1.0),
        "embedding": Hyperparameter("multiplier", "log2", 1.0),
        "attention": Hyperparameter("multiplier", "log2", 1.0),
        "branch": Hyperparameter("multiplier", "log2", 1.0),
        "init": Hyperparameter("multiplier", "log2", 1.0),
        "momentum": Hyperparameter("option", MEMORY),
        "beta1": Hyperparameter("option", MEMORY),
        "beta2": Hyperparameter("option", MEMORY),
        "nesterov": Hyperparameter("option", "choice"),
        "schedule": Hyperparameter("recipe", "choice", "constant"),
        "warmup": Hyperparameter("recipe", "linear", 0),
        "clip": Hyperparameter("recipe", "log2"),
        "label_smoothing": Hyperparameter("recipe", "linear", 0.0),
    }
)
"""The hyperparameters by name; a study also sweeps patterns and keywords of its builder."""

PATTERNS = ("lr.", "init.")
"""What may stand before a role or a pattern of tensors, as in "lr.blocks.*.up.weight"."""


def is_pattern(name: str) -> bool:
    """Return True for a hyperparameter of single tensors, such as "init.readout"."""
    return name.startswith(PATTERNS)


def sets(name: str) -> str:
    """Return what a hyperparameter sets; "builder" where the builder takes it."""
    if is_pattern(name):
        return "multiplier"
    known = HYPERPARAMETERS.get(name)
    return "builder" if known is None else known.sets


def neutral(name: str) -> Any:
    """Return the value that changes nothing; None where there is none."""
    if is_pattern(name):
        return 1.0
    known = HYPERPARAMETERS.get(name)
    return None if known is None else known.neutral


def scale_of(name: str, values: Sequence[Any]) -> Scale:
    """Return the scale on which these values of a hyperparameter are swept.

    >>> scale_of("lr", [0.1, 0.2]), scale_of("lr", [0.0, 0.1]), scale_of("ema_decay", [0.9, 0.99])
    ('log2', 'linear', 'log2(1/(1-x))')
    """
    known = HYPERPARAMETERS.get(name)
    if not all(_is_number(value) for value in values):
        return "choice"
    scale: Scale = "log2" if is_pattern(name) else known.scale if known else "linear"
    if known is None and _is_average(name, values):
        scale = MEMORY
    return scale if all(has_place(value, scale) for value in values) else "linear"


_AVERAGES = {"beta1", "beta2", "beta3", "momentum", "ema"}
"""Words in names of others, such as adam_beta2 and ema_decay, for shares that an average keeps."""


def _is_average(name: str, values: Sequence[float]) -> bool:
    """Return True for shares that an average keeps: 1 - x spans more than x does."""
    if _AVERAGES.isdisjoint(re.split(r"[\W_]+", name.lower())):
        return False
    if not all(0 <= value < 1 for value in values):
        return False
    low, high = min(values), max(values)
    return low == 0 or (1 - low) / (1 - high) > high / low


def range_of(name: str) -> tuple[float, float]:
    """Return the least and the largest number that a hyperparameter can come near.

    >>> range_of("beta2"), range_of("warmup"), range_of("dropout")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    if not is_pattern(name) and name not in HYPERPARAMETERS:
        return -math.inf, math.inf
    return 0.0, 1.0 if name in _BELOW_ONE else math.inf


def is_rate(name: str) -> bool:
    """Return True for positive floats, whatever type they are given in."""
    return name in {"lr", "clip"} or sets(name) == "multiplier"


def checked_point(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a point that was given by hand, rates as floats.

    Raises:
        MutransferError: a hyperparameter cannot have its value.
    """
    for name, value in point.items():
        check_values(name, [value])
    return FrozenDict({n: float(v) if is_rate(n) else frozen(v) for n, v in point.items()})


def check_values(name: str, values: Sequence[Any]) -> None:
    """Raise unless a hyperparameter can have these values.

    Raises:
        MutransferError: naming the hyperparameter and the value.
    """
    names = [as_recorded(value) for value in values if callable(value)]
    if twice := [each for each in names if names.count(each) > 1]:
        raise MutransferError(
            f"{name} has two values named {twice[0]!r}, which a record could not tell apart: give "
            "them names of their own"
        )
    for value in values:
        if name == "schedule":
            # A function is asked for its factors when the number of steps is known.
            schedule("constant" if callable(value) else value, 1)
        elif name == "warmup":
            schedule("constant", 1, value)
        elif not _fits(name, value):
            raise MutransferError(f"{name} has values that are not {_wanted(name)}: {[value]}")


_FROM_ZERO = {"weight_decay", "eps"}
_BELOW_ONE = {"momentum", "beta1", "beta2", "label_smoothing"}


def _wanted(name: str) -> str:
    """Return which values a hyperparameter can have, in words."""
    if name == "nesterov":
        return "True or False"
    if name in _BELOW_ONE:
        return "numbers from 0 to below 1"
    if not is_pattern(name) and name not in HYPERPARAMETERS:
        return "finite"
    return "numbers from 0 on" if name in _FROM_ZERO else "positive numbers"


def _fits(name: str, value: Any) -> bool:
    if name == "nesterov":
        return isinstance(value, bool)
    if not is_pattern(name) and name not in HYPERPARAMETERS:
        return not isinstance(value, float) or math.isfinite(value)
    if not _is_number(value) or not math.isfinite(value):
        return False
    if name in _BELOW_ONE:
        return bool(0 <= value < 1)
    return bool(value >= 0 if name in _FROM_ZERO else value > 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
