"""Builders of models: calling them, and their names in records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from ..core import MutransferError, fault, kind_of


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
            f"{builder_name(build)} failed when called with {asked}: {fault(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise MutransferError(f"{builder_name(build)} made {kind_of(model)}, not a torch.nn.Module")
    return model


def builder_name(build: Callable[..., Any]) -> str:
    """Return a builder's module and name, with the arguments that a partial fixes.

    The name is the same in every process, so that a record can be taken up again.
    """
    if isinstance(build, partial):
        keywords = sorted(build.keywords.items())
        fixed = [*map(_stable, build.args), *(f"{key}={_stable(v)}" for key, v in keywords)]
        return f"{builder_name(build.func)}({', '.join(fixed)})"
    if isinstance(build, MethodType):
        # Objects of one class have the same methods, and may hold different values.
        return f"{builder_name(build.__func__)} of {_owner(build.__self__)}"
    qualified = getattr(build, "__qualname__", None)
    name = f"{getattr(build, '__module__', '?')}:{qualified or type(build).__qualname__}"
    if qualified is None and (state := getattr(build, "__dict__", None)):
        # Objects of one class are different builders if they hold different values.
        return f"{name}({', '.join(f'{key}={_stable(state[key])}' for key in sorted(state))})"
    if "<" in name and isinstance(build, FunctionType):
        # Local functions and lambdas share names: their place and what they hold differ.
        held = [*(cell.cell_contents for cell in build.__closure__ or ()), *_defaults(build)]
        name += f" in {_place(build)} with ({', '.join(map(_stable, held))})"
    return name


def _owner(value: Any) -> str:
    """Return the name of the object that a method belongs to, with what it holds."""
    if isinstance(value, type):
        return builder_name(value)
    state = getattr(value, "__dict__", {})
    # A method of the object among them would name the object again, without end.
    held = {k: v.__func__ if isinstance(v, MethodType) else v for k, v in state.items()}
    listed = ", ".join(f"{key}={_stable(held[key])}" for key in sorted(held))
    return f"{type(value).__qualname__}({listed})"


def _defaults(function: FunctionType) -> list[Any]:
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _place(function: FunctionType) -> str:
    """Return the line of a function; of lambdas, which may share one, also the column."""
    code = function.__code__
    line = f"line {code.co_firstlineno}"
    if code.co_name != "<lambda>":
        return line
    columns = [end for *_, end in code.co_positions() if end is not None]
    return f"{line}, column {max(columns, default=0)}"


def _stable(value: Any) -> str:
    """Return a value as text without addresses: functions by name, others by repr."""
    if callable(value):
        return builder_name(value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
