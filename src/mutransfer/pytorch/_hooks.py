"""Forward multipliers, where no learned tensor can carry one: hooks on modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core import MutransferError
from ..plans import Plan
from ..reading import unwrapped


@dataclass(frozen=True)
class Times:
    """A forward hook that multiplies the output of its module.

    It is a plain object, so that the model can still be copied, pickled, compiled and exported.

    Attributes:
        factor: The number.
    """

    factor: float

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Return the output, multiplied."""
        return output * self.factor


def attach(plan: Plan, model: nn.Module) -> None:
    """Put a plan's forward multipliers on the modules; see `Plan.attach`."""
    if plan.forward and isinstance(model, torch.fx.GraphModule):
        raise MutransferError(
            "the model was exported, and hooks would not be called in it: "
            "call plan.attach(model) before torch.export"
        )
    if plan.forward and any(hasattr(module, "_orig_mod") for module in model.modules()):
        # Compiled code does not look whether hooks were added.
        torch.compiler.reset()
    for module in model.modules():
        for key in _times(module):
            del module._forward_hooks[key]
    for name, module in _multiplied(plan, model).items():
        module.register_forward_hook(Times(plan.forward[name].factor))


@contextmanager
def detached(model: nn.Module) -> Iterator[None]:
    """Take the forward multipliers off a model for a while."""
    hooks = [(module._forward_hooks, dict(module._forward_hooks)) for module in model.modules()]
    try:
        for module in model.modules():
            for key in _times(module):
                del module._forward_hooks[key]
        yield
    finally:
        for current, before in hooks:
            if any(isinstance(hook, Times) for hook in before.values()):
                # Order counts among hooks, so that all are put back, not the missing ones alone.
                current.clear()
                current.update(before)


def check_attached(plan: Plan, model: nn.Module) -> None:
    """Raise where the forward pass lacks a multiplier of the plan, or has another.

    Raises:
        MutransferError: naming the module.
    """
    if isinstance(model, torch.fx.GraphModule):
        return
    if sum(len(_times(module)) for module in model.modules()) > len(plan.forward):
        raise MutransferError(
            "the model has forward hooks of another plan: "
            "call plan.attach(model), which replaces them"
        )
    for name, module in _multiplied(plan, model).items():
        factor = plan.forward[name].factor
        if [hook.factor for hook in _times(module).values()] != [factor]:
            raise MutransferError(
                f"the output of {name or 'the model'} has to be multiplied by {factor:.6g}, which "
                "no learned tensor can carry: call plan.attach(model) once after the model is "
                "built, before training and before inference"
            )


def _times(module: nn.Module) -> dict[int, Times]:
    hooks = module._forward_hooks.items()
    return {key: hook for key, hook in hooks if isinstance(hook, Times)}


def _multiplied(plan: Plan, model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose outputs are multiplied, by planned name."""
    if not plan.forward:
        return {}
    # The name of the whole model is empty, with whatever wraps it: look inside the wrappers.
    while "" in plan.forward:
        inner = getattr(model, "_orig_mod", getattr(model, "module", None))
        if not isinstance(inner, nn.Module):
            break
        model = inner
    modules = {unwrapped(name, plan.forward): module for name, module in model.named_modules()}
    if missing := plan.forward.keys() - modules.keys():
        raise MutransferError(
            f"the model has no module {min(missing)}, whose output the plan multiplies: "
            "plan this model"
        )
    return {name: modules[name] for name in plan.forward}
