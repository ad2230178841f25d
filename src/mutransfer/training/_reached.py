"""The tensors that a backward pass reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor


@contextmanager
def reached(named: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Find the tensors that get a gradient meanwhile, and put theirs back.

    Args:
        named: Leaves that may get one.
    """
    before = {name: tensor.grad for name, tensor in named.items()}
    for tensor in named.values():
        tensor.grad = None
    found: list[str] = []
    try:
        yield found
        found += [name for name, tensor in named.items() if tensor.grad is not None]
    finally:
        for name, tensor in named.items():
            tensor.grad = before[name]
