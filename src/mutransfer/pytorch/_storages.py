"""Tensors and storages of a forward pass, by identity."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

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
        for version, written, value in self.storage.writes:
            if version > self.version and not is_apart(self.region, written):
                yield written, value


class Storages:
    """Table of tensors by identity, which no later tensor at an address inherits."""

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
        if known is None or _is_dead(known):
            # The weak reference keeps the address from being used again.
            alive = StorageWeakRef(untyped)  # type: ignore[no-untyped-call]
            known = self._storages[untyped._cdata] = Storage(alive, is_new)
        return known

    def _without_storage(self, tensor: Tensor, is_new: bool) -> Storage:
        known = self._storages.get(-id(tensor))
        if known is None or all(tracked.tensor() is not tensor for tracked in known.tensors):
            known = self._storages[-id(tensor)] = Storage(None, is_new)
        return known


def _is_dead(storage: Storage) -> bool:
    alive = storage.alive
    return alive is None or bool(alive.expired())  # type: ignore[no-untyped-call]


def region(tensor: Tensor) -> Region:
    """Return the part of its storage that a tensor shows."""
    if tensor.layout is not torch.strided:
        return tuple(tensor.shape), (), 0, tensor.dtype
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype


def is_apart(one: Region, other: Region) -> bool:
    """Return True if two regions of a storage certainly have no entry in common.

    Strides that divide each other are the digits of a position, as of an array with these strides;
    blocks are apart if they are along one of its dimensions.
    """
    if 0 in one[0] or 0 in other[0]:
        return True
    if one[3] != other[3]:
        return False
    strides = sorted({1, *_steps(one), *_steps(other)}, reverse=True)
    sizes = [larger // smaller for larger, smaller in pairwise(strides)]
    if any(larger % smaller for larger, smaller in pairwise(strides)):
        return False
    blocks = [_block(part, strides) for part in (one, other)]
    wraps = any(
        stop > size for block in blocks for (_, stop), size in zip(block[1:], sizes, strict=True)
    )
    return not wraps and any(a[1] <= b[0] or b[1] <= a[0] for a, b in zip(*blocks, strict=True))


def _steps(part: Region) -> dict[int, int]:
    """Return the sizes of a region's dimensions by their strides."""
    steps: dict[int, int] = {}
    for size, stride in zip(part[0], part[1], strict=False):
        if size > 1 and stride > 0:
            steps[stride] = max(size, steps.get(stride, 1))
    return steps


def _block(part: Region, strides: list[int]) -> list[tuple[int, int]]:
    """Return the positions of a region along each stride, from first to last plus one."""
    steps, offset, block = _steps(part), part[2], []
    for stride in strides:
        first, offset = divmod(offset, stride)
        block.append((first, first + steps.get(stride, 1)))
    return block
