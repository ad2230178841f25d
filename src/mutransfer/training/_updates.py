"""Updates of stacked tensors, equal to those of torch.optim member by member."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

State = dict[str, Tensor]
"""The optimizer's state of one stacked tensor, each entry of the tensor's shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One update of stacked tensors of one shape, in place.

    Attributes:
        parameter: The tensors, (row, *shape); a row is one tensor of one member.
        gradient: Their gradients.
        state: The optimizer's state, changed in place.
        count: Number of this step, from 1.
        lr: The rates, (row, 1, ..., 1).
        eps: The eps, stacked alike.
        weight_decay: The weight decays, stacked alike; None where all are zero.
    """

    parameter: Tensor
    gradient: Tensor
    state: State
    count: int
    lr: Tensor
    eps: Tensor
    weight_decay: Tensor | None = None


def sgd(step: Step, *, momentum: float = 0.0, nesterov: bool = False) -> None:
    """Update as torch.optim.SGD, with L2 weight decay."""
    gradient = step.gradient
    if step.weight_decay is not None:
        gradient = gradient + step.weight_decay * step.parameter
    if momentum:
        buffer = step.state["momentum"]
        # The first step of torch starts the buffer anew, whatever the momentum.
        buffer.mul_(momentum if step.count > 1 else 0.0).add_(gradient)
        gradient = gradient + momentum * buffer if nesterov else buffer
    step.parameter.sub_(step.lr * gradient)


def adam(step: Step, *, betas: tuple[float, float] = (0.9, 0.999), decoupled: bool = False) -> None:
    """Update as torch.optim.Adam, or as AdamW where the weight decay is decoupled."""
    gradient = step.gradient
    if step.weight_decay is not None:
        if decoupled:
            step.parameter.mul_(1 - step.lr * step.weight_decay)
        else:
            gradient = gradient + step.weight_decay * step.parameter
    first, second = step.state["first"], step.state["second"]
    first.lerp_(gradient, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    denominator = second.sqrt().div_((1 - betas[1] ** step.count) ** 0.5).add_(step.eps)
    step.parameter.sub_(
        torch.div(first, denominator, out=denominator).mul_(step.lr / (1 - betas[0] ** step.count))
    )


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of torch.optim.Muon's quintic iteration."""


def muon(
    step: Step,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = NEWTON_SCHULZ,
    ns_steps: int = 5,
    match_rms: bool = False,
) -> None:
    """Update matrices as torch.optim.Muon, with decoupled weight decay.

    Kernels of convolutions, (row, out, in, *kernel), are updated as matrices (out, in * kernel).

    The orthogonal update is multiplied by sqrt(max(1, rows / columns)), the convention
    muon-original, or by 0.2 sqrt(max(rows, columns)), the convention muon-match-rms.
    """
    step = _as_matrices(step)
    buffer = step.state["momentum"]
    buffer.lerp_(step.gradient, 1 - momentum)
    direction = step.gradient.lerp(buffer, momentum) if nesterov else buffer
    update = orthogonalised(direction, step.eps, ns_coefficients, ns_steps)
    rows, columns = step.parameter.shape[-2:]
    scale = 0.2 * math.sqrt(max(rows, columns)) if match_rms else math.sqrt(max(1, rows / columns))
    if step.weight_decay is not None:
        step.parameter.mul_(1 - step.lr * step.weight_decay)
    step.parameter.sub_(step.lr * scale * update)


def _as_matrices(step: Step) -> Step:
    """Return the same step with kernels flattened, as views of the same memory."""
    if step.parameter.dim() <= 3:
        return step
    flat: dict[str, Any] = {
        name: value.view(*value.shape[:2], -1)
        for name, value in vars(step).items()
        if isinstance(value, Tensor) and name != "gradient"
    }
    flat["gradient"] = step.gradient.flatten(2)
    state = {name: value.view(*value.shape[:2], -1) for name, value in step.state.items()}
    return replace(step, **flat, state=state)


def orthogonalised(
    matrices: Float[Tensor, "row out in"],
    eps: Float[Tensor, "row 1 1"],
    coefficients: tuple[float, float, float],
    steps: int,
) -> Float[Tensor, "row out in"]:
    """Return matrices with singular values near 1, by Newton-Schulz iterations.

    X <- a X + (b X X^T + c (X X^T)^2) X, from X of Frobenius norm 1 (torch.optim.Muon).
    """
    a, b, c = coefficients
    # Bfloat16, as torch: the iteration need not be exact, and losses are compared with torch's.
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps.to(x.dtype))
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


_CACHED_ENTRIES = 1 << 17
"""Entries of a block that stays in the processor's cache.

An update passes over its tensors several times.
"""


def blocks(stacked: Tensor) -> Iterator[slice]:
    """Return slices of rows whose update stays in cache; on other devices all rows."""
    rows = len(stacked)
    size = rows
    if stacked.device.type == "cpu":
        size = max(1, _CACHED_ENTRIES // max(1, stacked[0].numel()))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
