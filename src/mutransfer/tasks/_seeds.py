"""The generators of torch, NumPy and Python, seeded for a while."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_LENT = np.random.MT19937(0)
"""NumPy's generator while it is seeded.

To read and write the state of its own takes a tenth of a millisecond.
"""


def hashed(*parts: object) -> int:
    """Return a seed that others do not share, such as those of neighbouring numbers."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


@contextmanager
def drawing_from(*parts: object) -> Iterator[None]:
    """Seed the generators of the CPU by some parts, and put them back as they were."""
    seed = hashed(*parts)
    plain, tensors = random.getstate(), torch.default_generator.get_state()
    array = np.random.get_bit_generator()  # type: ignore[attr-defined]
    try:
        random.seed(seed)
        np.random.set_bit_generator(_LENT)  # type: ignore[attr-defined]
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(plain)
        np.random.set_bit_generator(array)  # type: ignore[attr-defined]
        torch.default_generator.set_state(tensors)
