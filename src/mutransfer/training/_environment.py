"""The surroundings that both programs of training share: threads and attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

CHECK_EVERY = 20
"""Steps between checks for diverged members, which are not trained any further."""

_SHARED = 1 << 17
"""Tensors with at least this many entries use all threads.

For smaller ones, waiting for the other threads costs more than they save, all the more on a machine
with other work.
"""


@contextmanager
def program(largest: int) -> Iterator[None]:
    """Set threads for tensors of this size, and one implementation of attention.

    Args:
        largest: Entries of the largest tensor.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if largest >= _SHARED else 1)
    try:
        # Both programs need one implementation of attention, and vmap batches this one.
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_num_threads(before)
