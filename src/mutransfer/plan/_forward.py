"""Multipliers of the forward pass, where no learned tensor can carry one: hooks on modules."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .._errors import MutransferError
from ..rules import Powers
from ._axes import canonical

if TYPE_CHECKING:
    from ._plan import Plan


@dataclass(frozen=True, kw_only=True)
class ForwardMultiplier:
    """What the output of a module is multiplied by.

    Attributes:
        module: The module's fully qualified name.
        multiplier: The power.
        ratios: The ratios that it is evaluated at, target over base.
        reasons: Why, one sentence each.
    """

    module: str
    multiplier: Powers
    ratios: Mapping[str, Fraction]
    reasons: tuple[str, ...]

    @property
    def factor(self) -> float:
        """The number."""
        return self.multiplier.evaluate(self.ratios)


@dataclass(frozen=True)
class Times:
    """The forward hook: a plain object, so that the model can still be copied, pickled, compiled and exported."""

    factor: float

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """The output, multiplied."""
        return output * self.factor


def attach(plan: Plan, model: nn.Module) -> None:
    """See `Plan.attach`."""
    if plan.forward and isinstance(model, torch.fx.GraphModule):
        raise MutransferError("the model was exported, and hooks would not be called in it: call plan.attach(model) before torch.export")
    if plan.forward and any(hasattr(module, "_orig_mod") for module in model.modules()):
        torch.compiler.reset()  # compiled code does not look whether hooks were added
    for module in model.modules():
        for key in [key for key, hook in module._forward_hooks.items() if isinstance(hook, Times)]:
            del module._forward_hooks[key]
    for name, module in _modules(plan, model).items():
        module.register_forward_hook(Times(plan.forward[name].factor))


@contextmanager
def detached(model: nn.Module) -> Iterator[None]:
    """The model without forward multipliers, for a while."""
    found = [(module._forward_hooks, dict(module._forward_hooks)) for module in model.modules()]
    try:
        for hooks, before in found:
            for key in [key for key, hook in before.items() if isinstance(hook, Times)]:
                del hooks[key]
        yield
    finally:
        for hooks, before in found:
            if any(isinstance(hook, Times) for hook in before.values()):
                hooks.clear()
                hooks.update(before)


def check_attached(plan: Plan, model: nn.Module) -> None:
    """Refuse a model whose forward pass lacks a multiplier of the plan, or has another."""
    if isinstance(model, torch.fx.GraphModule):
        return
    if sum(isinstance(hook, Times) for module in model.modules() for hook in module._forward_hooks.values()) > len(plan.forward):
        raise MutransferError("the model has forward hooks of another plan: call plan.attach(model), which replaces them")
    for name, module in _modules(plan, model).items():
        factor = plan.forward[name].factor
        if [hook.factor for hook in module._forward_hooks.values() if isinstance(hook, Times)] != [factor]:
            raise MutransferError(
                f"the output of {name or 'the model'} has to be multiplied by {factor:.6g}, which no learned tensor can carry: call "
                "plan.attach(model) once after the model is built, before training and before inference"
            )


def own_name(planned: Container[str], name: str) -> str:
    """The planned name of a parameter or module whose model torch.compile or DDP may have wrapped."""
    name = canonical(name)
    while name not in planned and name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _modules(plan: Plan, model: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs are multiplied, by the planned names."""
    if not plan.forward:
        return {}
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module) and "" in plan.forward:
        model = inner
    found = {own_name(plan.forward, name): module for name, module in model.named_modules()}
    if missing := plan.forward.keys() - found.keys():
        raise MutransferError(f"the model has no module {min(missing)}, whose output the plan multiplies: plan this model")
    return {name: found[name] for name in plan.forward}
