"""The values that modules hold in plain attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn

_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that torch gives every module, such as that of its parameters."""

_DEEPEST = 4
"""Containers within containers that are looked into; they may contain themselves."""


def held(module: nn.Module) -> Mapping[str, Any]:
    """Return numbers, texts, tensors and arrays that modules hold, by name.

    Those in lists, dictionaries, dataclasses and namespaces count, too.
    """
    return {
        name.lstrip("."): value
        for path, each in module.named_modules()
        for key, part in vars(each).items()
        if key not in _OF_MODULES
        for name, value in _leaves(f"{path}.{key}", part)
    }


def _leaves(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool | int | float | str | Tensor):
        yield name, value
    elif isinstance(value, np.ndarray):
        # A copy: what is written into an array later has to be seen.
        yield name, (value.shape, value.dtype.str, value.tobytes())
    elif depth < _DEEPEST:
        for key, part in _parts(value):
            yield from _leaves(f"{name}{key}", part, depth + 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a container."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, SimpleNamespace) or (
        is_dataclass(value) and not isinstance(value, type | nn.Module)
    ):
        yield from ((f".{key}", part) for key, part in getattr(value, "__dict__", {}).items())


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the name of the first attribute that differs, None where all are alike."""
    names = dict.fromkeys([*before, *after])
    return next((name for name in names if not _alike(before.get(name), after.get(name))), None)


def different(models: Sequence[nn.Module]) -> str | None:
    """Return an attribute that models of one shape hold with different values."""
    first = held(models[0])
    found = (changed(first, held(model)) for model in models[1:])
    return next((name for name in found if name is not None), None)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one is other:
            return True
        like = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        # What is not a number is equal to itself here.
        return like and bool(((one == other) | ((one != one) & (other != other))).all())
    return type(one) is type(other) and bool(one == other or (one != one and other != other))
