"""What a plan does to a model and to an optimizer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import family, parametrization
from ._axes import canonical

if TYPE_CHECKING:
    from ._plan import Plan

_TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def rms(tensors: list[Tensor]) -> float | None:
    """Root of the mean square entry of several tensors together; None where they have no values."""
    if any(t.is_meta for t in tensors):
        return None
    total = sum(float(t.detach().double().square().sum()) for t in tensors)
    return math.sqrt(total / sum(t.numel() for t in tensors))


def _planned(plan: Plan, model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's parameters by canonical name, if they are just the planned ones."""
    found = {_own_name(plan, name): parameter for name, parameter in model.named_parameters()}
    for name, parameter in found.items():
        if tuple(parameter.shape) != plan[name].shape:
            raise MutransferError(
                f"{name} has shape {tuple(parameter.shape)}, but the plan was made for {plan[name].shape}: plan this model"
            )
    if missing := plan.tensors.keys() - found.keys():
        raise MutransferError(f"the model has no {min(missing)}, which the plan has: plan this model")
    return found


def _own_name(plan: Plan, name: str) -> str:
    """The planned name of a parameter whose model torch.compile or DDP may have wrapped."""
    name = canonical(name)
    return name.removeprefix("module.") if name not in plan.tensors else name


def initialize(plan: Plan, model: nn.Module) -> None:
    """See `Plan.initialize`."""
    found = _planned(plan, model)
    if plan.at_base or not parametrization(plan.rule).maximal:
        return
    factors = {run: _init_factor(plan, run, found) for run in {tensor.run for tensor in plan.tensors.values()}}
    with torch.no_grad():
        for name, tensor in plan.tensors.items():
            found[name].mul_(factors[tensor.run])


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


def param_groups(
    plan: Plan, model: nn.Module, lr: float | Tensor, *, eps: float | None, weight_decay: float | None
) -> list[dict[str, Any]]:
    """See `Plan.param_groups`."""
    optimizer = family(plan.optimizer)
    if optimizer.eps is None and eps is not None:
        raise MutransferError(f"{optimizer.name} has no eps")
    if weight_decay and optimizer.name == "adam":
        raise MutransferError(
            "Adam adds weight decay to the gradient, which no width rule makes right (2203.03466, Appendix B.3); use AdamW: "
            'plan(..., optimizer="adamw")'
        )
    defaults = {"eps": eps, "weight_decay": weight_decay}
    if optimizer.name in _TORCH:
        signature = inspect.signature(_TORCH[optimizer.name]).parameters
        defaults = {k: signature[k].default if v is None and k in signature else v for k, v in defaults.items()}
    groups: dict[tuple[float, ...], dict[str, Any]] = {}
    for name, parameter in _planned(plan, model).items():
        tensor = plan[name]
        scaled = {"eps": tensor.factor("eps"), "weight_decay": tensor.factor("decay")}
        values = {k: value * scaled[k] for k, value in defaults.items() if value is not None}
        factor = tensor.factor("lr")
        key = (factor, *values.values())
        if key not in groups:
            rate = lr * factor
            groups[key] = {"params": [], "names": [], "lr": rate, "lr_factor": factor, **values}
        groups[key]["params"].append(parameter)
        groups[key]["names"].append(name)
    return list(groups.values())
