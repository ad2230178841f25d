"""Measuring tensors: initial scales, gradients, updates, the optimizer's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..pytorch import whole
from ._quantities import (
    DECAY,
    EPS,
    GRADIENT,
    PLANNED_SIZE,
    RATE,
    SPECTRAL,
    TENSOR_SIZE,
    UPDATE,
    UPDATE_SPECTRAL,
    Measured,
)
from ._record import rms
from ._subject import Subject

FEWEST_DRAWN = 32
"""Fewest entries of a tensor whose initial scale is compared with the plan.

The RMS of fewer random entries scatters by more than 1/sqrt(2 * 32), an eighth.
"""

POWER_STEPS = 8
"""Steps of the power iteration: right to a few percent, enough for an exponent."""


def initial(subject: Subject) -> Iterator[Measured]:
    """Measure the initial scale of every tensor, with its planned values."""
    for name, start in subject.start.items():
        yield TENSOR_SIZE, name, rms(start)
        for quantity, value in subject.planned.values[name]:
            if quantity != PLANNED_SIZE or start.numel() >= FEWEST_DRAWN:
                yield quantity, name, value


def training(
    subject: Subject, groups: Sequence[Mapping[str, Any]], *, gradients: bool
) -> Iterator[Measured]:
    """Measure the gradients, and the rate, eps and decay that the optimizers have.

    Args:
        subject: The network after a backward pass.
        groups: The parameter groups of all optimizers.
        gradients: True to measure gradients, too.
    """
    group_of = {id(p): group for group in groups for p in group["params"]}
    for name, parameter in subject.parameters.items():
        if gradients and parameter.grad is not None:
            yield GRADIENT, name, rms(parameter.grad)
        group = group_of.get(id(parameter))
        if group is None:
            continue
        lr = float(group["lr"])
        yield RATE, name, lr
        if isinstance(eps := group.get("eps"), float):
            yield EPS, name, eps
        if group.get("weight_decay"):
            yield DECAY, name, lr * float(group["weight_decay"])


def spectral_updates(subject: Subject) -> dict[str, float]:
    """Return the spectral norm of every matrix's change, for the first seed alone."""
    if not subject.is_first_seed:
        return {}
    return {
        name: spectral_norm(_update(subject, name))
        for name in _trained(subject)
        if subject.start[name].dim() > 1
    }


def updates(subject: Subject, spectral: Mapping[str, float]) -> Iterator[Measured]:
    """Measure the change of every tensor since initialisation.

    Args:
        subject: The network.
        spectral: Spectral norms of the changes, as `spectral_updates` returns them.
    """
    for name in _trained(subject):
        yield UPDATE, name, rms(_update(subject, name))
        if name in spectral:
            yield UPDATE_SPECTRAL, name, spectral[name]
            yield SPECTRAL, name, spectral_norm(subject.start[name])


def _trained(subject: Subject) -> list[str]:
    return [name for name in subject.parameters if name not in subject.frozen]


def _update(subject: Subject, name: str) -> Tensor:
    return whole(subject.parameters[name].detach()) - subject.start[name]


def spectral_norm(tensor: Tensor) -> float:
    """Return the largest singular value of a matrix, by power iteration.

    A kernel counts as a matrix with a row for each output.
    """
    matrix = tensor.flatten(1).float()
    columns = matrix.shape[1]
    # A fixed start that no structure of the matrix is likely to be orthogonal to.
    vector = torch.ones(columns, device=matrix.device)
    vector = vector + torch.arange(columns, device=matrix.device) % 7
    for _ in range(POWER_STEPS):
        vector = matrix.mT @ (matrix @ vector)
        vector = vector / vector.norm().clamp_min(1e-30)
    return float((matrix @ vector).norm())
