"""What a plan does to a model: its initial values and its gradients' norm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import Role
from ._forward import check_attached, own_name

if TYPE_CHECKING:
    from ._plan import Plan


def rms(tensors: list[Tensor]) -> float | None:
    """Root of the mean square entry of several tensors together; None where they have no values."""
    if any(t.is_meta for t in tensors):
        return None
    total = sum(float(_whole(t.detach().double().square().sum())) for t in tensors)
    return math.sqrt(total / sum(t.numel() for t in tensors))


def _whole(value: Tensor) -> Tensor:
    """A sum or norm over all shards, where its tensor is sharded (a DTensor, whose class would take a second to import)."""
    whole: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole


def planned(plan: Plan, model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's parameters by canonical name, if they are just the planned ones and the forward pass has the planned multipliers."""
    found = {own_name(plan.tensors, name): parameter for name, parameter in model.named_parameters()}
    for name, parameter in found.items():
        if tuple(parameter.shape) != plan[name].shape:
            raise MutransferError(
                f"{name} has shape {tuple(parameter.shape)}, but the plan was made for {plan[name].shape}: plan this model"
            )
    if missing := plan.tensors.keys() - found.keys():
        raise MutransferError(f"the model has no {min(missing)}, which the plan has: plan this model")
    check_attached(plan, model)
    return found


def initialize(plan: Plan, model: nn.Module) -> None:
    """See `Plan.initialize`."""
    found = planned(plan, model)
    if plan.at_base or not plan.rescales:
        return
    drawn = [tensor for tensor in plan.tensors.values() if tensor.role != Role.FROZEN]
    factors = {run: _init_factor(plan, run, found) for run in dict.fromkeys(tensor.run for tensor in drawn)}
    with torch.no_grad():
        for tensor in drawn:
            found[tensor.name].mul_(factors[tensor.run])


def _init_factor(plan: Plan, run: tuple[str, ...], found: Mapping[str, nn.Parameter]) -> float:
    tensor = plan[run[0]]
    own = rms([found[name] for name in run])
    if own is None:
        raise MutransferError(
            f"{tensor.name} is on the meta device and has no values to rescale: initialise the model first, then plan.initialize"
        )
    if tensor.base_rms is None:
        raise MutransferError(
            f"the plan does not know the initial scale of {tensor.name}: its base was on the meta device; give a base with values"
        )
    if (own == 0) != (tensor.base_rms == 0):
        raise MutransferError(
            f"{tensor.name} starts at zero in {'the model' if own == 0 else 'the base'} only: give both the same initial law"
        )
    return tensor.base_rms * tensor.factor("init") / own if own else 1.0


def clip_grad_norm_(plan: Plan, model: nn.Module, max_norm: float) -> Tensor:
    """See `Plan.clip_grad_norm_`."""
    found = {name: p for name, p in planned(plan, model).items() if plan[name].role != Role.FROZEN}
    explicit = {name: plan[name].factor("multiplier") for name in plan.tensors}
    norms = [_whole(p.grad.norm()) * explicit[name] for name, p in found.items() if p.grad is not None]
    if not norms:
        return torch.tensor(0.0)
    total: Tensor = torch.stack([norm.to(norms[0].device) for norm in norms]).norm()
    scale = torch.clamp(max_norm * plan.clip / (total + 1e-6), max=1.0)
    for parameter in found.values():
        if parameter.grad is not None:
            parameter.grad.mul_(scale.to(parameter.grad.device))
    return total
