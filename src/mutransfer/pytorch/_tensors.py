"""Sizes of tensors, sharded ones among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a sharded tensor as a whole, reduced over all shards; others as they are."""
    # A DTensor is known by its method: importing its class takes a second.
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def rms(tensors: Sequence[Tensor]) -> float | None:
    """Return the RMS entry of several tensors together; None on the meta device."""
    if any(tensor.is_meta for tensor in tensors):
        return None
    # Of complex numbers the magnitude counts.
    values = (t.detach().abs() if t.is_complex() else t.detach() for t in tensors)
    total = sum(float(whole(value.double().square().sum())) for value in values)
    return math.sqrt(total / max(1, sum(tensor.numel() for tensor in tensors)))
