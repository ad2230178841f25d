"""Parameter groups: the hyperparameters at base size, scaled for each tensor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import Family, Role, covers
from ._apply import planned
from ._optimizer import torch_class

if TYPE_CHECKING:
    from ._plan import Plan, TensorPlan


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The hyperparameters at base size, as `Plan.param_groups` takes them."""

    lr: float | Tensor
    eps: float | tuple[float, float] | None
    weight_decay: float | None
    rho: float | None
    modules: Mapping[str, float]
    undecayed: tuple[str, ...]

    def module_factor(self, name: str) -> float:
        """Factor of the base rate for this tensor's module."""
        return next((factor for pattern, factor in self.modules.items() if fnmatchcase(name, pattern)), 1.0)

    def decays(self, name: str, role: Role) -> bool:
        """Whether the tensor gets weight decay."""
        return not any(covers(key, role) or fnmatchcase(name, key) for key in self.undecayed)


def param_groups(plan: Plan, model: nn.Module, settings: Settings, optimizer: str | None) -> list[dict[str, Any]]:
    """See `Plan.param_groups`."""
    own = _asked_for(plan, optimizer)
    defaults = _defaults(own, settings)
    found = {name: p for name, p in planned(plan, model).items() if plan[name].optimizer == own.name and plan[name].role != Role.FROZEN}
    _check_patterns(settings, plan)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in found.items():
        tensor = plan[name]
        values = {k: _scaled(k, value, tensor, parameter.dtype) for k, value in defaults.items()}
        if not settings.decays(name, tensor.role):
            values["weight_decay"] = 0.0
        factor = tensor.factor("lr") * settings.module_factor(name)
        key = (factor, *values.values())
        if key not in groups:
            groups[key] = {"params": [], "names": [], "lr": settings.lr * factor, "lr_factor": factor, **values}
        groups[key]["params"].append(parameter)
        groups[key]["names"].append(name)
    return list(groups.values())


def _asked_for(plan: Plan, optimizer: str | None) -> Family:
    """The family that groups are wanted for."""
    if optimizer is None and len(plan.optimizers) == 1:
        return next(iter(plan.optimizers.values()))
    if optimizer is None or optimizer not in plan.optimizers:
        asked = "none was named" if optimizer is None else f"it has no {optimizer!r}"
        raise MutransferError(f"the plan is for {plan.optimizer}, and {asked}: say whose groups you want with optimizer=")
    return plan.optimizers[optimizer]


def _defaults(optimizer: Family, settings: Settings) -> dict[str, Any]:
    """Values at base size of what the plan scales beside the rate: torch's where none is given."""
    given = {"eps": settings.eps, "rho": settings.rho}
    for name, has in {"eps": optimizer.eps is not None, "rho": optimizer.curvature}.items():
        if not has and given[name] is not None:
            raise MutransferError(f"{optimizer.name} has no {name}")
    if settings.weight_decay and optimizer.decays_badly:
        raise MutransferError(
            f"{optimizer.name} adds weight decay to a gradient that it then normalises, which no width rule makes right (2203.03466, "
            'Appendix B.3); use AdamW or another with decoupled decay: plan(..., optimizer="adamw")'
        )
    cls = torch_class(optimizer)
    own = {k: p.default for k, p in inspect.signature(cls).parameters.items()} if cls else {"weight_decay": 0.0}
    if settings.weight_decay is None and optimizer.decays_badly:
        own["weight_decay"] = 0.0
    values = {"weight_decay": own.get("weight_decay", 0.0) if settings.weight_decay is None else settings.weight_decay}
    if optimizer.eps is not None:
        values["eps"] = own.get("eps") if settings.eps is None else settings.eps
        pair = isinstance(own.get("eps"), tuple)
        if values["eps"] is not None and isinstance(values["eps"], tuple) != pair:
            raise MutransferError(f"{optimizer.name}'s eps is {'a pair' if pair else 'one number'}, not {values['eps']!r}")
    if optimizer.curvature:
        values["rho"] = settings.rho
    for name, value in values.items():
        if value is None:
            raise MutransferError(
                f"{optimizer.name}'s {name} has to scale, and its default is not known here: give {name}= as at base size"
            )
    return values


def _scaled(name: str, value: Any, tensor: TensorPlan, dtype: torch.dtype) -> Any:
    """A hyperparameter at base size, scaled for a tensor.

    Of Adafactor's eps, the first is torch's default for the tensor's type where it is None, the second a floor of the tensor's own size.
    """
    if isinstance(value, tuple):
        first = torch.finfo(dtype).eps if value[0] is None else value[0]
        return first * tensor.factor("eps"), value[1] * tensor.factor("init")
    if name == "rho":
        return value / tensor.factor("eps")
    return value * tensor.factor({"eps": "eps", "weight_decay": "decay"}[name])


def _check_patterns(settings: Settings, plan: Plan) -> None:
    for pattern in settings.modules:
        if not any(fnmatchcase(name, pattern) for name in plan.tensors):
            raise MutransferError(f"modules={{{pattern!r}: ...}} matches no parameter")
    for key in settings.undecayed:
        if key not in set(Role) and not any(fnmatchcase(name, key) for name in plan.tensors):
            raise MutransferError(f"undecayed has {key!r}, which is no role and matches no parameter")
