"""Python state that a forward pass can change, and its restoration.

Code that caches does so in attributes, in containers and plain objects behind them, in classes,
default arguments, closures and module globals. All of it is compared by identity: nothing of the
user's is called.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import _restore as restore

# Objects of these packages keep no state of a model; their caches are right for every model.
_FOREIGN = {*sys.stdlib_module_names, "builtins", "torch", "numpy", "mutransfer", "jaxtyping"}
_FOREIGN |= {"pytest", "_pytest", "hypothesis", "IPython", "ipykernel", "matplotlib", "sympy"}
_OPEN = {"SimpleNamespace", "Namespace", "UserDict", "UserList", "partial"}
_MOST_OBJECTS = 300_000
_MOST_ENTRIES = 100_000
_LARGEST_ARRAY = 1 << 24


class Snapshot:
    """State of everything that can be reached from an object.

    Attributes:
        tables: Dictionaries and lists that hold attributes, for `substitute`.
        generators: Sources of random numbers.
        restores: Calls that put everything back.
    """

    def __init__(self, *roots: Any) -> None:
        """Take a snapshot of what can be reached from the roots."""
        self.tables: list[dict[Any, Any] | list[Any]] = []
        self.generators: list[Any] = []
        self.restores: list[restore.Restore] = []
        self._seen: dict[int, Any] = {}
        self._modules: set[str] = set()
        self._is_global = False
        self._walk(list(roots))
        # What the code of the model sees comes second: there may be much of it.
        self._is_global = True
        self._walk([vars(sys.modules[name]) for name in sorted(self._modules)])

    def substitute(self, stand_ins: Mapping[int, Tensor]) -> None:
        """Put other tensors in the place of some, by the identity of those."""
        for table in self.tables if stand_ins else ():
            if isinstance(table, dict):
                for key, value in list(dict.items(table)):
                    if id(value) in stand_ins:
                        dict.__setitem__(table, key, stand_ins[id(value)])
            else:
                for index, value in enumerate(list.copy(table)):
                    if id(value) in stand_ins:
                        list.__setitem__(table, index, stand_ins[id(value)])

    def _walk(self, roots: list[Any]) -> None:
        queue = deque(roots)
        while queue and len(self._seen) < _MOST_OBJECTS:
            found = queue.popleft()
            if id(found) not in self._seen and type(found) not in _ATOMS:
                self._seen[id(found)] = found
                queue.extend(self._visit(found))

    def _visit(self, found: Any) -> Iterator[Any]:
        """Note how to restore an object, and yield what it leads to."""
        kind = type(found)
        if issubclass(kind, Tensor):
            yield from self._tensor(found)
        elif issubclass(kind, _CONTAINERS):
            yield from self._container(found)
        elif issubclass(kind, tuple | frozenset):
            base = tuple if issubclass(kind, tuple) else frozenset
            yield from base.__iter__(found)
        elif issubclass(kind, _FUNCTIONS):
            yield from self._function(found)
        elif issubclass(kind, type):
            yield from self._class(found)
        elif issubclass(kind, types.ModuleType):
            self._note_module(found.__name__)
        elif issubclass(kind, np.ndarray):
            self._array(found)
        elif (state := restore.generator(found)) is not None:
            self.generators.append(found)
            self.restores.append(state)
        elif self._is_walked(found):
            yield from self._object(found)

    def _is_walked(self, found: Any) -> bool:
        kind = type(found)
        if issubclass(kind, nn.Module):
            # Other models that the code sees may be in training in another thread.
            return not self._is_global
        return _package(kind.__module__) not in _FOREIGN or kind.__name__ in _OPEN

    def _object(self, found: Any) -> Iterator[Any]:
        kind = type(found)
        self.restores.append(partial(restore.class_, found, kind))
        yield from _attributes(found)
        for slot, value in _slots(found):
            self.restores.append(partial(restore.slot_, found, slot, value))
            yield value
        yield from (base for base in kind.__mro__ if _package(base.__module__) not in _FOREIGN)

    def _container(self, found: Any) -> Iterator[Any]:
        if type(found) not in _PLAIN and self._is_walked(found):
            yield from _attributes(found)
        base = next(each for each in _CONTAINERS if isinstance(found, each))
        if base.__len__(found) > _MOST_ENTRIES:
            return
        if isinstance(found, dict):
            kind = OrderedDict if isinstance(found, OrderedDict) else dict
            entries = list(kind.items(found))
            self.tables.append(found)
            self.restores.append(partial(restore.dict_, found, entries))
            yield from (value for _, value in entries)
        elif isinstance(found, list):
            self.tables.append(found)
            self.restores.append(partial(restore.list_, found, list.copy(found)))
            yield from list.copy(found)
        elif isinstance(found, set):
            self.restores.append(partial(restore.set_, found, set.copy(found)))
        else:
            entries = list(deque.__iter__(found))
            self.restores.append(partial(restore.deque_, found, entries))
            yield from entries

    def _tensor(self, found: Tensor) -> Iterator[Any]:
        self.restores.append(restore.tensor(found))
        yield vars(found)

    def _function(self, found: Any) -> Iterator[Any]:
        if isinstance(found, partial):
            yield from (found.func, found.args, found.keywords)
        elif isinstance(found, types.MethodType):
            yield from (found.__self__, found.__func__)
        elif isinstance(found, classmethod | staticmethod):
            yield found.__func__
        elif isinstance(found, property):
            yield from (found.fget, found.fset)
        elif isinstance(found, types.FunctionType):
            yield from (found.__defaults__, found.__kwdefaults__)
            if _package(found.__module__ or "builtins") not in _FOREIGN:
                self._note_module(found.__module__)
                yield vars(found)
            for cell in found.__closure__ or ():
                yield from self._cell(cell)
        else:  # functools.lru_cache and other wrappers
            yield getattr(found, "__wrapped__", None)

    def _cell(self, cell: types.CellType) -> Iterator[Any]:
        try:
            contents = cell.cell_contents
        except ValueError:  # empty
            return
        self.restores.append(partial(restore.cell_, cell, contents))
        yield contents

    def _class(self, found: type) -> Iterator[Any]:
        if _package(found.__module__) in _FOREIGN:
            return
        self._note_module(found.__module__)
        state = dict(vars(found))
        self.restores.append(partial(restore.type_, found, state))
        yield from state.values()

    def _note_module(self, name: str) -> None:
        # One step away from the model's own code: imports of imports would be the whole world.
        if not self._is_global and name in sys.modules:
            self._modules.add(name)

    def _array(self, found: np.ndarray[Any, Any]) -> None:
        if found.nbytes <= _LARGEST_ARRAY and found.flags.writeable and not found.dtype.hasobject:
            self.restores.append(partial(restore.array_, found, found.copy()))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _attributes(found: Any) -> Iterator[dict[str, Any]]:
    """Yield the dictionary of an object's attributes, if it has one."""
    try:
        state = object.__getattribute__(found, "__dict__")
    except AttributeError:
        return
    if type(state) is dict:
        yield state


def _slots(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object that lie in slots."""
    for base in type(found).__mro__:
        for name, member in vars(base).items():
            if type(member) is types.MemberDescriptorType:
                try:
                    yield name, member.__get__(found)
                except AttributeError:
                    yield name, restore.MISSING


_ATOMS = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size}
_ATOMS |= {types.BuiltinFunctionType, type(Ellipsis), type(NotImplemented)}
_PLAIN = {dict, OrderedDict, list, set, deque}
_CONTAINERS = (dict, list, set, deque)
_FUNCTIONS: tuple[type, ...] = (
    *(types.FunctionType, types.MethodType, classmethod, staticmethod, property, partial),
    type(lru_cache(lambda: None)),
)
