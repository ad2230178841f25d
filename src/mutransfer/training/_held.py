"""The values that modules hold outside their parameters and buffers."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from weakref import ReferenceType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_OF_MODULES = frozenset(vars(nn.Module())) - {"training"} | {"_actual_script_module"}
"""Attributes that torch gives every module or every traced one, such as that of its parameters."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Those that hold the hooks of its passes, by numbers that no other model has."""

_PLAIN = bool | int | float | complex | str | bytes | np.generic | torch.dtype | torch.device | Enum
"""Values without parts."""

_DEEPEST = 4
"""Containers within containers that are looked into; they may contain themselves."""


class Own(NamedTuple):
    """A module of the model that a function was made with, so that no copy has it."""

    function: str


class Kept(NamedTuple):
    """A tensor that was held, and the number of writes to it until then."""

    tensor: Tensor
    writes: int


def held(module: nn.Module) -> Mapping[str, Any]:
    """Return numbers, texts, tensors, arrays and functions that modules hold, by name.

    Those in lists, dictionaries, dataclasses, namespaces and closures count, too, and so do those
    of hooks and of modules that are not registered.
    """
    leaves = _Leaves(module)
    return dict(
        leaf for path, each in module.named_modules() for leaf in leaves.attributes(path, each)
    )


def methods(kind: type, model: nn.Module) -> Mapping[str, Any]:
    """Return the functions and values of a class and its bases."""
    leaves = _Leaves(model)
    return {
        name: value
        for base in kind.__mro__[: kind.__mro__.index(nn.Module)]
        for key, part in vars(base).items()
        if not key.startswith("__")
        for name, value in leaves.of(f"{base.__qualname__}.{key}", part)
    }


def snapshot(module: nn.Module) -> Mapping[str, Any]:
    """Return what modules hold, buffers too, to be compared with what they hold later."""
    named = [(path, each._buffers) for path, each in module.named_modules()]
    buffers = {f"{path}.{n}".lstrip("."): b for path, known in named for n, b in known.items()}
    return {
        name: Kept(value, writes(value)) if isinstance(value, Tensor) else value
        for name, value in {**held(module), **buffers}.items()
    }


def writes(tensor: Tensor) -> int:
    """Return how often a tensor was written to, as far as torch counts it."""
    return 0 if tensor.is_inference() else tensor._version


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the name of the first attribute that differs, None where all are alike."""
    names = dict.fromkeys([*before, *after])
    return next((name for name in names if not _alike(before.get(name), after.get(name))), None)


def counting(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return the first attribute that differs, but for new tensors."""
    other = {
        name: value
        for name, value in after.items()
        if not isinstance(value, Kept)
        or (isinstance(old := before.get(name), Kept) and old.tensor is value.tensor)
    }
    return changed({name: before.get(name) for name in other}, other)


def recomputed(module: nn.Module) -> set[str]:
    """Return the attributes that torch makes anew before each forward pass."""
    names = {"_flat_weights"} if isinstance(module, nn.RNNBase) else set()
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            names.add(hook.name)
        elif isinstance(hook, BasePruningMethod):
            names.add(hook._tensor_name)
    return names


class _Leaves:
    """The leaves of what a model's modules hold.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = set(model.modules())
        self._seen = set[nn.Module]()

    def attributes(self, path: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
        """Yield those of a module's plain attributes."""
        left_out = _OF_MODULES | recomputed(module)
        parts = {key: part for key, part in vars(module).items() if key not in left_out}
        for key, part in (
            parts | {key: [*getattr(module, key).values()] for key in _HOOKS}
        ).items():
            yield from self.of(f"{path}.{key}".lstrip("."), part)

    def of(
        self, name: str, value: Any, depth: int = 0, function: str | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Yield those of a value.

        Args:
            name: Its name.
            value: The value.
            depth: Number of containers around it.
            function: The function whose closure it is in, None if there is none.
        """
        if isinstance(value, _PLAIN | Tensor):
            yield name, value
        elif isinstance(value, np.ndarray):
            # A copy: what is written into an array later has to be seen.
            yield name, (value.shape, value.dtype.str, value.tobytes())
        elif isinstance(value, nn.Module):
            yield from self._module(name, value, function)
        elif depth < _DEEPEST:
            if callable(value) and not isinstance(value, ReferenceType):
                yield name, _kind(value)
            if isinstance(value, FunctionType):
                function = function or name
            owner = getattr(value, "__self__", None)
            if isinstance(owner, nn.Module) and owner in self._own:
                yield from self._module(name, owner, function)
            for key, part in _parts(value):
                yield from self.of(f"{name}{key}", part, depth + 1, function)

    def _module(
        self, name: str, module: nn.Module, function: str | None
    ) -> Iterator[tuple[str, Any]]:
        if module in self._own:
            if function is not None:
                yield name, Own(function)
        elif module not in self._seen:
            self._seen.update(module.modules())
            for path, each in module.named_modules(prefix=name):
                if each in self._own:
                    yield from self._module(path, each, function)
                    continue
                yield from each.named_parameters(path, recurse=False)
                yield from each.named_buffers(path, recurse=False)
                yield from self.attributes(path, each)


def _kind(value: Callable[..., Any]) -> Any:
    """Return what two functions, or objects that are called, have in common."""
    if isinstance(value, FunctionType):
        return value.__code__
    if isinstance(value, BuiltinFunctionType):
        return (value.__name__, type(value.__self__)) if _is_bound(value) else value
    if not hasattr(value, "__dict__"):
        try:
            return value.__reduce_ex__(2)
        except TypeError:
            return value
    kind = value if isinstance(value, type) else type(value)
    return kind.__module__, kind.__qualname__


def _is_bound(function: BuiltinFunctionType) -> bool:
    """Return True for a method of an object, as that of a dictionary."""
    return not isinstance(function.__self__, type | ModuleType | None)


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the parts of a container."""
    if isinstance(value, Mapping):
        return ((f"[{key!r}]", part) for key, part in value.items())
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple | deque):
        return ((f"[{number}]", part) for number, part in enumerate(value))
    if isinstance(value, FunctionType):
        return [*_closure(value), *_parts(value.__defaults__ or ()), *_parts(value.__kwdefaults__)]
    if isinstance(value, BuiltinFunctionType):
        return _parts(value.__self__) if _is_bound(value) else ()
    if isinstance(value, MethodType):
        return [("", value.__func__)]
    if isinstance(value, functools.partial):
        return [("", value.func), *_parts(value.args), *_parts(value.keywords)]
    if isinstance(value, type) or not (
        callable(value) or isinstance(value, SimpleNamespace) or is_dataclass(value)
    ):
        return ()
    return ((f".{key}", part) for key, part in getattr(value, "__dict__", {}).items())


def _closure(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Kept) and isinstance(other, Kept):
        if one.tensor is other.tensor:
            return one.writes == other.writes
        return _alike(one.tensor, other.tensor)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        like = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        try:
            # What is not a number is equal to itself here.
            return like and bool(((one == other) | ((one != one) & (other != other))).all())
        except RuntimeError:  # left over from a stacked pass
            return False
    return type(one) is type(other) and bool(one == other or (one != one and other != other))
