"""Tensors and storages of a forward pass, by identity."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from ..reading import Operation

Region = tuple[tuple[int, ...], tuple[int, ...], int, torch.dtype]
"""Shape, strides, offset and type: the part of a storage that a tensor shows."""


@dataclass(eq=False, slots=True)
class Storage:
    """A storage that the forward pass has seen.

    Attributes:
        is_new: True if the forward pass made it, so that nobody else sees what it writes there.
        holds_signal: True once something that is no constant was written to it, or made it.
        version: Number of writes.
        writes: Version after, region and value of every write of a signal.
        tensors: The tensors that were seen of it, views too.
    """

    alive: StorageWeakRef | None
    is_new: bool
    holds_signal: bool = False
    version: int = 0
    writes: list[tuple[int, Region, int]] = field(default_factory=list)
    tensors: list[Tracked] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class View:
    """The operation that made a view, with its base and the base's value at that time."""

    base: Tracked
    base_value: int
    operation: Operation
    position: int


@dataclass(eq=False, slots=True)
class Tracked:
    """A tensor that the forward pass has seen.

    Attributes:
        value: Index of the value that it held when it was last read; None for a constant that
            nothing has used so far.
        version: Number of writes to its storage that the value takes into account.
        view: None where it is no view, or one of a constant.
        is_known: False for a constant whose numbers are not known.
    """

    tensor: weakref.ref[Tensor]
    storage: Storage
    region: Region
    value: int | None = None
    version: int = 0
    view: View | None = None
    is_known: bool = True

    def later_writes(self) -> Iterator[tuple[Region, int]]:
        """Yield the writes to its part of the storage since its value was read."""
        if self.version == self.storage.version:
            return
        start, stop = _span(self.region)
        for version, written, value in self.storage.writes:
            first, last = _span(written)
            if version > self.version and first < stop and start < last:
                yield written, value


class Storages:
    """Table of tensors; a new one at the address of a dead one is not confused with it."""

    def __init__(self) -> None:
        self._tensors: dict[int, Tracked] = {}
        self._storages: dict[int, Storage] = {}

    def find(self, tensor: Tensor) -> Tracked | None:
        """Return what is known of this very tensor, None if it was not seen so far."""
        tracked = self._tensors.get(id(tensor))
        if tracked is None or tracked.tensor() is not tensor:
            return None
        # Assigning to `.data`, and operations such as `unsqueeze_`, move a tensor elsewhere.
        here = tracked.region == region(tensor) and tracked.storage is self.storage(tensor)
        return tracked if here else None

    def add(self, tensor: Tensor, value: int | None, *, is_new: bool) -> Tracked:
        """Return the record of a tensor that holds this value now."""
        storage = self.storage(tensor, is_new=is_new)
        tracked = Tracked(weakref.ref(tensor), storage, region(tensor), value, storage.version)
        self._tensors[id(tensor)] = tracked
        storage.tensors.append(tracked)
        return tracked

    def storage(self, tensor: Tensor, *, is_new: bool = False) -> Storage:
        """Return the record of a tensor's storage."""
        try:
            untyped = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse tensors and some subclasses
            return self._without_storage(tensor, is_new)
        known = self._storages.get(untyped._cdata)
        if known is None or known.alive is None or known.alive.expired():  # type: ignore[no-untyped-call]
            # The weak reference keeps the address from being used again.
            alive = StorageWeakRef(untyped)  # type: ignore[no-untyped-call]
            known = self._storages[untyped._cdata] = Storage(alive, is_new)
        return known

    def _without_storage(self, tensor: Tensor, is_new: bool) -> Storage:
        known = self._storages.get(-id(tensor))
        if known is None or all(tracked.tensor() is not tensor for tracked in known.tensors):
            known = self._storages[-id(tensor)] = Storage(None, is_new)
        return known


def region(tensor: Tensor) -> Region:
    """Return the part of its storage that a tensor shows."""
    if tensor.layout is not torch.strided:
        return tuple(tensor.shape), (), 0, tensor.dtype
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype


def _span(part: Region) -> tuple[int, int]:
    """Return the first byte of a region, and the one after its last."""
    shape, strides, offset, dtype = part
    if 0 in shape:
        return 0, 0
    length = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=False))
    return offset * dtype.itemsize, (offset + length) * dtype.itemsize
