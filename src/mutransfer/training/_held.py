"""The numbers and tensors that modules hold in plain attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def held(module: nn.Module) -> Mapping[str, Any]:
    """Return numbers, texts and tensors in plain attributes of modules, by name."""
    return {
        f"{name}.{key}".lstrip("."): value
        for name, each in module.named_modules()
        for key, value in vars(each).items()
        if isinstance(value, bool | int | float | str | Tensor)
    }


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
