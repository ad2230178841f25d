"""Builders of models: calling them, and their names in records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

from torch import nn

from ..core import MutransferError


def build_model(build: Callable[..., nn.Module], size: Mapping[str, int]) -> nn.Module:
    """Call a builder with a size; re-raise its failure as a sentence.

    Args:
        build: The builder, called as `build(width=..., depth=...)`.
        size: The arguments.

    Raises:
        MutransferError: the builder failed, or returned something else than a module.
    """
    try:
        model = build(**size)
    except MutransferError:
        raise
    except Exception as error:
        asked = ", ".join(f"{axis}={value}" for axis, value in size.items())
        raise MutransferError(
            f"{builder_name(build)} failed when called with {asked}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise MutransferError(
            f"{builder_name(build)} made a {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def builder_name(build: Callable[..., Any]) -> str:
    """Return a builder's module and name, with the arguments that a partial fixes.

    The name is the same in every process, so that a record can be taken up again.
    """
    if isinstance(build, partial):
        keywords = sorted(build.keywords.items())
        fixed = [*map(_stable, build.args), *(f"{key}={_stable(v)}" for key, v in keywords)]
        return f"{builder_name(build.func)}({', '.join(fixed)})"
    qualified = getattr(build, "__qualname__", None)
    name = f"{getattr(build, '__module__', '?')}:{qualified or type(build).__qualname__}"
    if qualified is None and (state := getattr(build, "__dict__", None)):
        # Objects of one class are different builders if they hold different values.
        return f"{name}({', '.join(f'{key}={_stable(state[key])}' for key in sorted(state))})"
    if "<" in name and isinstance(build, FunctionType):
        # Local functions and lambdas share names: their line and what they enclose differ.
        enclosed = [_stable(cell.cell_contents) for cell in build.__closure__ or ()]
        name += f" in line {build.__code__.co_firstlineno} with ({', '.join(enclosed)})"
    return name


def _stable(value: Any) -> str:
    """Return a value as text without addresses: functions by name, others by repr."""
    if callable(value):
        return builder_name(value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
