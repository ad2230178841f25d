"""Clipping of the gradients' norm at base size's threshold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..plans import Plan
from ._planned import planned_parameters
from ._tensors import whole


def clip_grad_norm_(plan: Plan, model: nn.Module, max_norm: float) -> Tensor:
    """Clip the gradients' global norm in place; see `Plan.clip_grad_norm_`."""
    parameters = {
        name: parameter
        for name, parameter in planned_parameters(plan, model).items()
        if plan[name].is_trained
    }
    norms = [
        whole(parameter.grad.norm()) * plan[name].factor("multiplier")
        for name, parameter in parameters.items()
        if parameter.grad is not None
    ]
    if not norms:
        return torch.tensor(0.0)
    total: Tensor = torch.stack([norm.to(norms[0].device) for norm in norms]).norm()
    scale = torch.clamp(max_norm * plan.clip / (total + 1e-6), max=1.0)
    for parameter in parameters.values():
        if parameter.grad is not None:
            parameter.grad.mul_(scale.to(parameter.grad.device))
    return total
