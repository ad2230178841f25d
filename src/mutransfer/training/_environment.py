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

For smaller ones, waiting for the other threads costs more than they save, all the more on a machine
with other work.
"""


@contextmanager
def surroundings(largest: int, *, together: bool = True) -> Iterator[None]:
    """Set threads for tensors of this size, and the implementation of attention.

    Args:
        largest: Entries of the largest tensor.
        together: True for the implementation that vmap batches, and that members trained one by
            one share with those trained together.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if largest >= _SHARED else 1)
    try:
        with sdpa_kernel(SDPBackend.MATH) if together else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)
