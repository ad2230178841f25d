"""The values of a program, and which of them a tensor holds.

Values do not change, tensors do. A tensor that is read after another view of its storage was
written gets a new value: the view of what its base holds now, or a "write" of the old value and
what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from ..reading import Operation, Program, Ref, Value
from ._storages import Storages, Tracked, View, region

# Autograd detaches or copies what it saves: unused, these are no part of the forward pass.
_BOOKKEEPING = {"detach", "alias", "clone"}


class Ledger:
    """The program as far as it is written.

    Attributes:
        module: Canonical name of the module whose call is running.
    """

    def __init__(
        self,
        parameters: Mapping[int, str],
        buffers: Mapping[int, str],
        unknown: frozenset[int] = frozenset(),
    ) -> None:
        """Open a ledger.

        Args:
            parameters: Names of the parameters, by the identity of the tensors.
            buffers: Likewise of buffers.
            unknown: Identities of stand-ins, whose numbers do not count.
        """
        self._parameters, self._buffers, self._unknown = parameters, buffers, unknown
        self._values: list[Value] = []
        self._operations: list[Operation] = []
        self.storages = Storages()
        self.module = ""

    def track(self, tensor: Tensor) -> Tracked:
        """Return the record of a tensor, which may be seen for the first time."""
        tracked = self.storages.find(tensor)
        if tracked is not None:
            return tracked
        storage = self.storages.storage(tensor)
        if name := self._parameters.get(id(tensor)):
            storage.holds_signal = True
            index = self.new(tensor, "parameter", name)
            return self.storages.add(tensor, index, is_new=False)
        if storage.tensors:
            return self._unseen_view(tensor, storage.tensors)
        tracked = self.storages.add(tensor, None, is_new=False)
        tracked.is_known = id(tensor) not in self._unknown
        return tracked

    def is_constant(self, tracked: Tracked) -> bool:
        """Return True if a tensor holds a constant now."""
        index = tracked.value
        if index is not None and self._values[index].kind != "constant":
            return False
        return next(tracked.later_writes(), None) is None

    def read(self, tensor: Tensor) -> int:
        """Return the value that a tensor holds now; a constant enters the program."""
        tracked = self.track(tensor)
        storage = tracked.storage
        if not self.is_constant(tracked):
            return self._current(tracked)
        if tracked.value is None or (tracked.version != storage.version and not storage.writes):
            name = self._buffers.get(id(tensor), "")
            numbers = _magnitude(tensor) if tracked.is_known else None
            tracked.value = self.new(tensor, "constant", name, numbers)
        tracked.version = storage.version
        return tracked.value

    def take_input(self, tensor: Tensor) -> None:
        """Declare an input of the model."""
        self.storages.add(
            tensor, self.new(tensor, "input"), is_new=True
        ).storage.holds_signal = True

    def add_constant(self, tensor: Tensor, *, is_known: bool) -> None:
        """Declare what an operation on constants made."""
        if self.storages.find(tensor) is None:
            self.storages.add(tensor, None, is_new=True).is_known = is_known

    def write_constant(self, tensor: Tensor, *, is_known: bool) -> None:
        """Note that a constant was overwritten by another."""
        tracked = self.track(tensor)
        tracked.storage.version += 1
        for each in tracked.storage.tensors:
            each.is_known &= is_known

    def prepare_signal(self, tensor: Tensor) -> None:
        """Read the constants of a storage before something else is written to it."""
        storage = self.track(tensor).storage
        if not storage.holds_signal:
            for tracked in list(storage.tensors):
                seen = tracked.tensor()
                if seen is not None:
                    self.read(seen)
            storage.holds_signal = True

    def write_signal(self, tensor: Tensor, value: int) -> None:
        """Note the value that an operation wrote into a tensor."""
        tracked = self.track(tensor)
        storage = tracked.storage
        storage.version += 1
        storage.writes.append((storage.version, tracked.region, value))
        tracked.value, tracked.version = value, storage.version

    def add_result(
        self, tensor: Tensor, value: int, inputs: list[Tracked], made: Operation
    ) -> None:
        """Declare a tensor that an operation made, maybe as a view of one of its inputs."""
        tracked = self.storages.add(tensor, value, is_new=True)
        tracked.storage.holds_signal = True
        base = next((each for each in inputs if each.storage is tracked.storage), None)
        if base is not None and base.value is not None:
            tracked.view = View(base, base.value, made, made.results.index(value))

    def new(
        self,
        tensor: Tensor,
        kind: str = "result",
        name: str = "",
        magnitude: tuple[float, float, float] | None = None,
    ) -> int:
        """Return the index of a new value with a tensor's shape."""
        is_float = tensor.is_floating_point() or tensor.is_complex()
        shape = tuple(int(size) for size in tensor.shape)
        return self._append(Value(shape, kind, name, is_float, magnitude))

    def add_operation(self, operation: Operation) -> None:
        """Append an operation."""
        self._operations.append(operation)

    def program(
        self,
        outputs: tuple[int, ...],
        modules: Mapping[str, list[tuple[int, ...]]],
        *,
        is_training: bool,
    ) -> Program:
        """Return the program without what only autograd needed."""
        used = {*outputs, *(i for calls in modules.values() for call in calls for i in call)}
        used |= {i for i, value in enumerate(self._values) if value.kind == "input"}
        kept: list[Operation] = []
        for operation in reversed(self._operations):
            if operation.name not in _BOOKKEEPING or used.intersection(operation.results):
                used.update(operation.inputs, (i for i in operation.results if i is not None))
                kept.append(operation)
        new = {index: position for position, index in enumerate(sorted(used))}
        return Program(
            values=tuple(self._values[i] for i in new),
            operations=tuple(_renumbered(operation, new) for operation in reversed(kept)),
            outputs=tuple(new[i] for i in outputs),
            modules={
                name: tuple(tuple(new[i] for i in call) for call in calls)
                for name, calls in modules.items()
            },
            is_training=is_training,
        )

    def _unseen_view(self, tensor: Tensor, others: list[Tracked]) -> Tracked:
        """Return the record of a tensor that shares its storage with known ones."""
        here = region(tensor)
        read = [each for each in others if each.value is not None] or others
        other = next((each for each in read if each.region == here), read[0])
        value = None if self.is_constant(other) else self._current(other)
        if value is not None and other.region != here:
            result = self.new(tensor)
            self.add_operation(Operation("alias", (Ref(value),), {}, (result,), self.module))
            value = result
        tracked = self.storages.add(tensor, value, is_new=False)
        tracked.is_known = other.is_known
        return tracked

    def _current(self, tracked: Tracked) -> int:
        """Return the value of a tensor, with the later writes to its storage."""
        value, view = tracked.value, tracked.view
        writes = list(tracked.later_writes())
        if writes and writes[-1][0] == tracked.region:
            value = writes[-1][1]
        elif writes and view is not None:
            value = self._view_again(view)
        else:
            for _, written in writes:
                assert value is not None
                result = self._append(replace(self._values[value], kind="result", magnitude=None))
                arguments = Ref(value), Ref(written)
                self.add_operation(Operation("write", arguments, {}, (result,), self.module))
                value = result
        assert value is not None
        tracked.value, tracked.version = value, tracked.storage.version
        return value

    def _view_again(self, view: View) -> int:
        """Make a view once more, of what its base holds now."""
        base = self._current(view.base)
        operation = view.operation
        old = {view.base_value: base}
        results = [None if i is None else self._append(self._values[i]) for i in operation.results]
        again = replace(
            operation,
            arguments=_replaced(operation.arguments, old),
            keywords={name: _replaced(x, old) for name, x in operation.keywords.items()},
            results=tuple(results),
        )
        view.operation, view.base_value = again, base
        self.add_operation(again)
        value = results[view.position]
        assert value is not None
        return value

    def _append(self, value: Value) -> int:
        self._values.append(value)
        return len(self._values) - 1


def _renumbered(operation: Operation, new: Mapping[int, int]) -> Operation:
    return replace(
        operation,
        arguments=_replaced(operation.arguments, new),
        keywords={name: _replaced(value, new) for name, value in operation.keywords.items()},
        results=tuple(None if i is None else new[i] for i in operation.results),
    )


def _replaced(argument: Any, new: Mapping[int, int]) -> Any:
    """Return an argument with other indices of values."""
    if isinstance(argument, Ref):
        return Ref(new.get(argument.index, argument.index))
    if isinstance(argument, tuple):
        return tuple(_replaced(each, new) for each in argument)
    return argument


def _magnitude(tensor: Tensor) -> tuple[float, float, float] | None:
    """Return RMS, mean and largest magnitude of the finite entries other than zero."""
    if not tensor.is_floating_point() or tensor.is_meta or tensor.layout is not torch.strided:
        return None
    with no_dispatch():  # reading numbers is no operation of the model
        entries = tensor.detach().double().abs()
        entries = entries[torch.isfinite(entries) & (entries != 0)]
        if not len(entries):
            return None
        return float(entries.square().mean().sqrt()), float(entries.mean()), float(entries.max())
