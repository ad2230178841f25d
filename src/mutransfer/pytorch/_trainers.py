"""The plan's optimizers in trainers that make or ask for optimizers themselves.

A trainer that takes an ordinary optimizer needs nothing from here. Accelerate's
`accelerator.prepare(model, optimizer)` keeps the groups of `Plan.param_groups`, and its schedulers
keep their ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..core import MutransferError
from ._optimizers import VARIANTS, torch_class
from ._plan import Plan
from ._settings import check_start

_SCALED = ("eps", "weight_decay", "rho")
"""The hyperparameters that go into groups and not to the optimizer."""


class _Planned(Optimizer):
    """A factory in the shape of a class, which makes the plan's optimizer.

    It ignores the parameter groups that it is given, and is never an instance itself.
    """

    def __new__(cls, given: Any, *, planned: nn.Module, make: Callable[[], Optimizer]) -> Any:
        known = {id(parameter) for parameter in planned.parameters()}
        for group in given:
            for parameter in group["params"]:
                if id(parameter) not in known:
                    raise MutransferError(
                        f"the Trainer trains a parameter of shape {tuple(parameter.shape)} that "
                        "the planned model has not: it is another model, or was wrapped in a way "
                        "that makes new parameters; plan and pass the model that the Trainer gets"
                    )
        return make()


def optimizer_cls_and_kwargs(
    plan: Plan,
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float | None = None,
    eps: float | tuple[float, float] | None = None,
    rho: float | None = None,
    modules: Mapping[str, float] | None = None,
    undecayed: Sequence[str] = (),
    optimizer: Callable[..., Optimizer] | None = None,
    **optimizer_settings: Any,
) -> tuple[type[Optimizer], dict[str, Any]]:
    """Return the `optimizer_cls_and_kwargs` of a `transformers.Trainer`.

    The rate, weight decay and optimizer of TrainingArguments are not used then. The Trainer's
    schedules keep the ratios, except for "reduce_lr_on_plateau", which needs
    `lr_scheduler_kwargs={"eps": 0}`. A `min_lr` is at base size. The rate that the Trainer logs is
    the first group's. `max_grad_norm` clips as torch does; for `Plan.clip_grad_norm_` set it to 0
    and clip in a callback's on_pre_optimizer_step.

    Args:
        plan: The plan, for one optimizer.
        model: The model that the Trainer gets, planned and initialised.
        lr: The learning rate at base size.
        weight_decay: As in `Plan.param_groups`, like the arguments up to undecayed.
        eps: The optimizer's eps at base size.
        rho: Sophia's threshold at base size.
        modules: Factors of the base rate by name pattern.
        undecayed: Roles or name patterns of tensors without weight decay.
        optimizer: The class; torch's of the planned family by default.
        optimizer_settings: Its other settings, such as betas.

    Raises:
        MutransferError: the model is not the planned one, the optimizer has no such
            hyperparameter, or several train the model.
    """
    if len(plan.optimizers) != 1:
        raise MutransferError(
            f"the plan is for {plan.optimizer}, and a Trainer steps one optimizer: "
            "plan for one of them, or write the loop"
        )
    scaled: dict[str, Any] = {"eps": eps, "weight_decay": weight_decay, "rho": rho}
    scaled |= {"modules": modules, "undecayed": undecayed}

    def make() -> Optimizer:
        return _optimizer(plan, model, plan.optimizer, optimizer, lr, scaled, optimizer_settings)

    # Bad settings are refused here and not when the Trainer asks for its optimizer.
    make()
    return _Planned, {"planned": model, "make": make}


def configure_optimizers(
    plan: Plan,
    module: nn.Module,
    lr: float | Mapping[str, float],
    *,
    modules: Mapping[str, float] | None = None,
    undecayed: Sequence[str] = (),
    optimizers: Mapping[str, Callable[..., Optimizer]] | None = None,
    **settings: Any,
) -> Optimizer | list[Optimizer]:
    """Return the optimizers for a LightningModule's `configure_optimizers`.

    It is one optimizer, or a list where several train the model. With a schedule, return
    `{"optimizer": optimizer, "lr_scheduler": ...}` made from it. Lightning steps several optimizers
    under manual optimization only (`self.automatic_optimization = False`).

    Args:
        plan: The plan.
        module: The planned module: the LightningModule, or the network in it if that was planned.
        lr: The learning rate at base size. This and each setting may be a mapping from the
            optimizers' names in the plan.
        modules: Factors of the base rate by name pattern, as in `Plan.param_groups`.
        undecayed: Roles or name patterns of tensors without weight decay.
        optimizers: Classes by name in the plan; torch's of the planned family by default.
        settings: weight_decay, eps and rho at base size, and the optimizers' other settings, such
            as betas.

    Raises:
        MutransferError: the module is not the planned one, or an optimizer is unknown, has no rate
            or no such hyperparameter.
    """
    classes = optimizers or {}
    for given in (lr, classes, *settings.values()):
        if isinstance(given, Mapping) and (unknown := given.keys() - plan.optimizers.keys()):
            raise MutransferError(
                f"the plan is for {plan.optimizer} and has no optimizer {min(unknown)!r}"
            )
    configured = []
    for name in plan.optimizers:
        if isinstance(lr, Mapping) and name not in lr:
            raise MutransferError(f"lr has no rate for {name}: give lr={{{name!r}: ...}} too")
        rate = lr[name] if isinstance(lr, Mapping) else lr
        options = _settings_of(name, settings)
        scaled = {key: options.pop(key) for key in _SCALED if key in options}
        scaled |= {"modules": modules, "undecayed": undecayed}
        configured.append(_optimizer(plan, module, name, classes.get(name), rate, scaled, options))
    return configured[0] if len(configured) == 1 else configured


def _settings_of(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one optimizer; mappings are by the optimizers' names."""
    return {
        key: value[name] if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if not isinstance(value, Mapping) or name in value
    }


def _optimizer(
    plan: Plan,
    model: nn.Module,
    name: str,
    cls: Callable[..., Optimizer] | None,
    lr: float,
    scaled: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Optimizer:
    """Make the optimizer of one family.

    Its default rate is the one at base size, which schedules with a floor are relative to.
    """
    groups = plan.param_groups(model, lr, optimizer=name, **scaled)
    make: Callable[..., Optimizer] | None = cls or torch_class(plan.optimizers[name])
    if make is None:
        raise MutransferError(
            f"torch has no optimizer for {name}: give its class, such as optimizer=Lion or "
            f"optimizers={{{name!r}: Lion}}"
        )
    variant = {} if cls else VARIANTS.get(name, {})
    if lost := variant.keys() & settings.keys():
        raise MutransferError(
            f"{name} sets {min(lost)} itself: plan for the optimizer that you use"
        )
    check_start(name, settings)
    try:
        return make(groups, lr=lr, **variant, **settings)
    except TypeError as error:
        title = getattr(make, "__name__", make)
        raise MutransferError(f"{title} does not take these settings: {error}") from error
