"""The surroundings that both programs of training share: threads and attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

CHECK_EVERY = 20
"""Steps between checks for diverged members, which are not trained any further."""

_SHARED = 1 << 18
"""Tensors with at least this many entries use all threads.

For smaller ones it depends on the machine, and has to be measured: two threads were seen to train
them in .55 to 1.1 times the time of one where cores are idle, in twice the time where they are not.
"""


@contextmanager
def surroundings(
    largest: int, *, threads: int | None = None, together: bool = True
) -> Iterator[None]:
    """Set threads for tensors of this size, and the implementation of attention.

    Args:
        largest: Entries of the largest tensor.
        threads: Threads for it, as far as torch has so many; by its size by default.
        together: True for the implementation that vmap batches, and that members trained one by
            one share with those trained together.
    """
    before = torch.get_num_threads()
    by_size = before if is_large(largest) else 1
    torch.set_num_threads(min(before, threads or by_size))
    try:
        with sdpa_kernel(SDPBackend.MATH) if together else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def is_large(entries: int) -> bool:
    """Return True for tensors that use all threads."""
    return entries >= _SHARED
