"""Memory that is too small, as torch and Python tell it."""

from __future__ import annotations

import torch

_TEXTS = ("can't allocate memory", "not enough memory", "std::bad_alloc", "out of memory")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return True if memory was too small, also where that is the cause of this error."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS):
            return True
        error = error.__cause__
    return False
