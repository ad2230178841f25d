"""Parameters that lie on one another in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from operator import itemgetter

from torch import Tensor
from torch._subclasses import FakeTensor

from ..core import MutransferError
from ._storages import is_apart, region


def check_apart(parameters: Mapping[str, Tensor]) -> None:
    """Raise where two parameters have an entry in common.

    Modules that share one Parameter are tied, and it stands under one name here. Two Parameters on
    the same memory are read as two tensors: both would rescale it, and each have a rate and an
    optimizer state of its own for it. Parts of one buffer that lie apart are no matter.

    Args:
        parameters: Parameters by name.

    Raises:
        MutransferError: naming the first two.
    """
    for one, other in _overlaps(parameters):
        raise MutransferError(
            f"{one} and {other} are two Parameters on the same memory, so each would rescale and "
            "step the other: tie the modules by one Parameter (head.weight = embedding.weight, "
            "without .data), or give each values of its own with .clone()"
        )


def _overlaps(parameters: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    together: dict[Hashable, list[str]] = {}
    for name, parameter in parameters.items():
        together.setdefault(_memory(parameter), []).append(name)
    for names in together.values():
        spans = [(*_span(parameters[name]), name) for name in names if len(names) > 1]
        reaching: list[tuple[int, int, str]] = []
        for start, stop, name in sorted(spans, key=itemgetter(0, 1)):
            reaching = [each for each in reaching if each[1] > start]
            for _, _, other in reaching:
                # Columns of one matrix reach past one another and lie apart.
                if not is_apart(region(parameters[other]), region(parameters[name])):
                    yield other, name
            reaching.append((start, stop, name))


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the first byte of a tensor in its storage, and the one after its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    start = int(tensor.storage_offset())
    return start * tensor.element_size(), (start + last + 1) * tensor.element_size()


def _memory(tensor: Tensor) -> Hashable:
    """Return what tensors on one memory have in common."""
    try:
        storage = tensor.untyped_storage()
        # Storages that were made of one array are several at one address; some tensors have none.
        address = 0 if isinstance(tensor, FakeTensor) else storage.data_ptr()
    except (NotImplementedError, RuntimeError):  # subclasses that keep their values elsewhere
        return id(tensor)
    return (tensor.device, address) if address else storage._cdata
