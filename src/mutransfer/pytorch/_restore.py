"""Restoration of single objects, if they changed."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Restore = Callable[[], object]
"""Puts one thing back."""

MISSING = object()
"""Value of an attribute that is not set."""

_PLAIN = {Tensor, nn.Parameter, nn.Buffer}
_LRU_CACHE = type(functools.lru_cache(lambda: None))
_OURS = {"torch", "numpy", "mutransfer", "sympy", *sys.stdlib_module_names}


def dict_(found: dict[Any, Any], entries: list[tuple[Any, Any]]) -> None:
    """Give a dictionary its entries back, in their order."""
    # A subclass may do more on every write: a configuration validates, a cache evicts.
    kind = OrderedDict if isinstance(found, OrderedDict) else dict
    now = list(kind.items(found))
    if len(now) == len(entries) and all(
        k is key and v is value for (k, v), (key, value) in zip(now, entries, strict=True)
    ):
        return
    kind.clear(found)
    for key, value in entries:
        kind.__setitem__(found, key, value)


def list_(found: list[Any], entries: list[Any]) -> None:
    """Give a list its entries back."""
    if not _same(list.copy(found), entries):
        list.__setitem__(found, slice(None), entries)


def set_(found: set[Any], entries: set[Any]) -> None:
    """Give a set its entries back."""
    if set.__ne__(found, entries):
        set.clear(found)
        set.update(found, entries)


def deque_(found: deque[Any], entries: list[Any]) -> None:
    """Give a deque its entries back."""
    if not _same(list(deque.__iter__(found)), entries):
        deque.clear(found)
        deque.extend(found, entries)


def cell_(cell: types.CellType, contents: Any) -> None:
    """Give a variable of a closure its value back."""
    cell.cell_contents = contents


def class_(found: Any, kind: type) -> None:
    """Give an object its class back; lazy modules become others in their first call."""
    if type(found) is not kind:
        object.__setattr__(found, "__class__", kind)


def slot_(found: Any, name: str, value: Any) -> None:
    """Give an object an attribute back that lies in a slot."""
    with contextlib.suppress(AttributeError, TypeError):  # read-only ones cannot have changed
        if value is MISSING:
            object.__delattr__(found, name)
        elif getattr(found, name, MISSING) is not value:
            object.__setattr__(found, name, value)


def type_(found: type, state: Mapping[str, Any]) -> None:
    """Give a class its attributes back."""
    now = dict(vars(found))
    for name in now.keys() - state.keys():
        with contextlib.suppress(AttributeError, TypeError):
            type.__delattr__(found, name)
    for name, value in state.items():
        if now.get(name, found) is not value:
            with contextlib.suppress(AttributeError, TypeError):
                type.__setattr__(found, name, value)


def array_(found: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any]) -> None:
    """Give an array its numbers back."""
    found[...] = numbers


def tensor(found: Tensor) -> Restore:
    """Return what gives a tensor its memory, gradient and flag back, not its numbers."""
    return partial(_tensor, found, found.detach(), found.requires_grad, _gradient(found))


def generator(found: Any) -> Restore | None:
    """Return what gives a generator its state back, None for other objects."""
    if isinstance(found, torch.Generator):
        return partial(found.set_state, found.get_state())
    if isinstance(found, random.Random):
        return partial(found.setstate, found.getstate())
    if isinstance(found, np.random.Generator):
        bits = found.bit_generator
        return partial(setattr, bits, "state", bits.state)
    if isinstance(found, np.random.RandomState):
        return partial(found.set_state, found.get_state())
    return None


class _Caches:
    """Register of every functools.lru_cache in the process."""

    def __init__(self) -> None:
        self._known: list[weakref.ref[Any]] = []
        self._others = -1

    def all(self) -> list[Any]:
        """Return them; all objects are searched only if one may have been made since."""
        found = self._living()
        # Every cache refers to its class (CPython), so that a new one raises the count. A build
        # without the interpreter lock does not keep exact counts.
        exact = getattr(sys, "_is_gil_enabled", lambda: True)()
        if not exact or sys.getrefcount(_LRU_CACHE) - len(found) != self._others:
            found = [each for each in gc.get_objects() if type(each) is _LRU_CACHE]
            self._known = [weakref.ref(each) for each in found]
            self._others = sys.getrefcount(_LRU_CACHE) - len(found)
        return found

    def _living(self) -> list[Any]:
        return [each for known in self._known if (each := known()) is not None]


_CACHES = _Caches()


def caches() -> Restore:
    """Return what empties every functools.lru_cache that grew, of whatever function."""
    found = [
        each for each in _CACHES.all() if (each.__module__ or "").partition(".")[0] not in _OURS
    ]
    before = [(each, each.cache_info().misses) for each in found]

    def empty() -> None:
        for each, misses in before:
            if each.cache_info().misses != misses:
                each.cache_clear()

    return empty


def _tensor(found: Tensor, memory: Tensor, requires_grad: bool, gradient: Tensor | None) -> None:
    if type(found) in _PLAIN and found.layout is torch.strided:  # others are made of tensors
        moved = found.untyped_storage()._cdata != memory.untyped_storage()._cdata
        if moved or found.shape != memory.shape or found.stride() != memory.stride():
            found.data = memory
    if found.requires_grad != requires_grad and found.is_leaf:
        found.requires_grad_(requires_grad)
    if found.is_leaf and found.grad is not gradient:
        found.grad = gradient


def _gradient(found: Tensor) -> Tensor | None:
    return found.grad if found.is_leaf else None


def _same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(x is y for x, y in zip(left, right, strict=True))
