"""Tensors in the place of a model's own, where those cannot be computed with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

Substitute = Callable[[Tensor], Tensor]

_HALF = (torch.bfloat16, torch.float16)


def on_cpu(tensor: Tensor) -> Tensor:
    """Return the tensor where it has numbers on the CPU, else numbers in its place."""
    if _is_plain(tensor):
        return tensor
    if isinstance(tensor, nn.Parameter) or tensor.is_meta:
        return _numbers(tensor)
    return tensor.detach().cpu()


def in_single_precision(tensor: Tensor) -> Tensor:
    """Return numbers on the CPU of a type that every kernel there knows."""
    return on_cpu(tensor).float() if tensor.dtype in _HALF else on_cpu(tensor)


def on_meta(tensor: Tensor) -> Tensor:
    """Return a parameter without numbers, or a buffer with its own to look into."""
    if isinstance(tensor, nn.Parameter):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return on_cpu(tensor)


def as_fakes(mode: Any) -> Substitute:
    """Return the like of `on_meta` with the tensors of a FakeTensorMode."""

    def substitute(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            return on_cpu(tensor)
        with mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype)

    return substitute


def substitutes(model: nn.Module, substitute: Substitute) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the tensors of a model that need another, each with the other."""
    seen: set[int] = set()
    for tensor in chain(model.parameters(), model.buffers()):
        other = substitute(tensor)
        if other is tensor or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if isinstance(tensor, nn.Parameter):
            other = nn.Parameter(other, requires_grad=tensor.requires_grad)
            vars(other).update(vars(tensor) if type(tensor) is nn.Parameter else {})
        yield tensor, other


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and type(tensor) in (Tensor, nn.Parameter, nn.Buffer)


def _numbers(tensor: Tensor) -> Tensor:
    """Return small numbers that serve as weights, scales and variances, not at random.

    Positions, types and other whole numbers are zeros; masks hide nothing.
    """
    if not tensor.is_floating_point():
        whole = torch.ones if tensor.dtype == torch.bool else torch.zeros
        return whole(tensor.shape, dtype=tensor.dtype)
    if tensor.dim() < 2 or not isinstance(tensor, nn.Parameter):
        return torch.ones(tensor.shape, dtype=tensor.dtype)
    # A prime number of different entries: rows and columns of a matrix are not equal.
    few = torch.randn(4099, generator=torch.Generator().manual_seed(0)).mul(0.02).to(tensor.dtype)
    return few.repeat(-(-tensor.numel() // len(few)))[: tensor.numel()].view(tensor.shape)
