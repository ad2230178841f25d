"""The line of code that uses what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import Size, two_digits
from ..studies import HYPERPARAMETERS

_MULTIPLIERS = {name for name, each in HYPERPARAMETERS.items() if each.sets == "multiplier"}
"""Hyperparameters that belong to the plan: `plan.tuned` takes them."""

_GROUPS = {name for name, each in HYPERPARAMETERS.items() if each.sets == "table"}
"""Hyperparameters that belong to the optimizer's groups: `plan.param_groups` takes them."""


def advice(target: Size, hyperparameters: Mapping[str, Any]) -> str:
    """Return what to do at the target, with code where its size is that of a plan.

    >>> advice(Size(width=8192, depth=64), {"lr": 0.00549, "readout": 4.0})
    'train at width 8192, depth 64 with lr=0.0055, readout=4: \
plan.tuned(readout=4).param_groups(model, lr=0.0055)'
    """
    whole = ", ".join(f"{name}={_text(value)}" for name, value in hyperparameters.items())
    sentence = f"train at {target} with {whole}"
    if not {"width", "depth"} & target.keys():
        return sentence
    tuned = {name: value for name, value in hyperparameters.items() if _is_multiplier(name)}
    groups = {name: value for name, value in hyperparameters.items() if name in _GROUPS}
    plan = f"plan.tuned({_arguments(tuned)})" if tuned else "plan"
    return f"{sentence}: {plan}.param_groups({', '.join(['model', *_pairs(groups)])})"


def _is_multiplier(name: str) -> bool:
    return name in _MULTIPLIERS or "." in name


def _arguments(values: Mapping[str, Any]) -> str:
    """Return keyword arguments as code; names with dots as a dictionary."""
    dotted = {name: value for name, value in values.items() if "." in name}
    named = {name: value for name, value in values.items() if "." not in name}
    inside = ", ".join(f"{name!r}: {_text(value)}" for name, value in dotted.items())
    return ", ".join([*_pairs(named), *([f"**{{{inside}}}"] if dotted else [])])


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_text(value)}" for name, value in values.items()]


def _text(value: Any) -> str:
    if not isinstance(value, int | float):
        return repr(value)
    return two_digits(value)
