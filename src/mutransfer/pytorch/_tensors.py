"""Sizes of tensors, sharded ones among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
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


def is_code(tensor: Tensor) -> bool:
    """Return True for quantised weights: integers and numbers of 8 bits or fewer.

    They stand for values whose scale another tensor has.
    """
    return not tensor.is_complex() and (not tensor.is_floating_point() or tensor.itemsize < 2)


def smallest_eps(dtype: torch.dtype) -> float:
    """Return the eps of a type, Adafactor's default; of single precision for integers."""
    has_one = dtype.is_floating_point or dtype.is_complex
    return torch.finfo(dtype if has_one else torch.float32).eps
