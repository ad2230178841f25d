"""The model of the published sweep, and its figures."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mutransfer.tasks import gpt

HEAD = 64
"""Size of a head, the same at all widths."""


def decoder(width: int, depth: int, context: int) -> nn.Module:
    """Return a GPT on bytes with heads of 64."""
    return gpt(width, depth, heads=max(1, width // HEAD), context=context)


def flops(width: int, depth: int, context: int, batch: int) -> float:
    """Return the operations of one step; a backward pass costs two forward ones."""
    with torch.device("meta"):
        model, tokens = decoder(width, depth, context), torch.zeros(batch, context).long()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(tokens)
    return 3.0 * counter.get_total_flops()


def peak(device: str, dtype: torch.dtype, size: int) -> float:
    """Return the measured operations a second of a product of square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2.0 * size**3 / statistics.median(times)
