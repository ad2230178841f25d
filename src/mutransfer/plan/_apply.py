"""What a plan does to a model and to an optimizer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._errors import MutransferError
from ..rules import Family, Role
from ._axes import canonical
from ._optimizer import torch_class

if TYPE_CHECKING:
    from ._plan import Plan, TensorPlan


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
    if plan.at_base or not plan.rescales:
        return
    drawn = [tensor for tensor in plan.tensors.values() if tensor.role != Role.FROZEN]
    factors = {run: _init_factor(plan, run, found) for run in {tensor.run for tensor in drawn}}
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
        return not any(key == role or fnmatchcase(name, key) for key in self.undecayed)


def param_groups(plan: Plan, model: nn.Module, settings: Settings, optimizer: str | None) -> list[dict[str, Any]]:
    """See `Plan.param_groups`."""
    own = _asked_for(plan, optimizer)
    defaults = _defaults(own, settings)
    found = {name: p for name, p in _planned(plan, model).items() if plan[name].optimizer == own.name and plan[name].role != Role.FROZEN}
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


def clip_grad_norm_(plan: Plan, model: nn.Module, max_norm: float) -> Tensor:
    """See `Plan.clip_grad_norm_`."""
    found = {name: p for name, p in _planned(plan, model).items() if plan[name].role != Role.FROZEN}
    explicit = {name: plan[name].factor("multiplier") for name in plan.tensors}
    norms = [p.grad.norm() * explicit[name] for name, p in found.items() if p.grad is not None]
    if not norms:
        return torch.tensor(0.0)
    total: Tensor = torch.stack([norm.to(norms[0].device) for norm in norms]).norm()
    scale = torch.clamp(max_norm * plan.clip / (total + 1e-6), max=1.0)
    for parameter in found.values():
        if parameter.grad is not None:
            parameter.grad.mul_(scale.to(parameter.grad.device))
    return total
