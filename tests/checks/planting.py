"""Training with planted faults: edits of a planned optimizer and of a model."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from mutransfer import Plan

RATE = 2**-6
Groups = dict[str, dict[str, Any]]
Edit = Callable[[Plan, nn.Module, Groups], None]


def training(
    *edits: Edit,
    audited: bool = False,
    schedule: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> Callable[[Plan, nn.Module], Any]:
    """Return a `train` that runs AdamW on the plan's groups, one for each tensor, after edits.

    Without an audit the features alone have to show a fault.

    Args:
        edits: The faults.
        audited: Whether groups keep the planned factors, which the audit compares.
        schedule: Makes a schedule of the optimizer.
        settings: Hyperparameters of the plan's groups.
    """

    def train(plan: Plan, model: nn.Module) -> Any:
        planned = plan.param_groups(model, RATE, **settings)
        groups = {
            name: group | {"params": [p], "names": [name]}
            for group in planned
            for name, p in zip(group["names"], group["params"], strict=True)
        }
        with torch.no_grad():
            for edit in edits:
                edit(plan, model, groups)
        chosen = [group if audited else without_factor(group) for group in groups.values()]
        optimizer = torch.optim.AdamW(chosen)
        return (optimizer, schedule(optimizer)) if schedule else optimizer

    return train


def without_factor(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "lr_factor"}


def matched(plan: Plan, pattern: str) -> list[str]:
    names = [name for name in plan.tensors if fnmatchcase(name, pattern)]
    assert names, pattern
    return names


def rate(pattern: str, ratio: str, power: float) -> Edit:
    """Multiply rates by a power of the ratio of fan_in, fan_out or depth to the base."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in matched(plan, pattern):
            groups[name]["lr"] *= float(plan[name].ratios[ratio]) ** power

    return edit


def scale(pattern: str, ratio: str, power: float) -> Edit:
    """Multiply initial values by a power of such a ratio."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in matched(plan, pattern):
            model.get_parameter(name).mul_(float(plan[name].ratios[ratio]) ** power)

    return edit


def setting(pattern: str, **values: float) -> Edit:
    """Overwrite settings of groups."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        for name in matched(plan, pattern):
            groups[name].update(values)

    return edit


def swapped(one: str, other: str) -> Edit:
    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        groups[one]["lr"], groups[other]["lr"] = groups[other]["lr"], groups[one]["lr"]

    return edit


def no_multiplier(plan: Plan, model: nn.Module, groups: Groups) -> None:
    """Remove what is folded into a norm, such as the multiplier of a tied readout."""
    for name in matched(plan, "norm.*"):
        model.get_parameter(name).div_(plan[name].factor("multiplier"))
        groups[name]["lr"] /= plan[name].factor("multiplier")


def no_gradient(plan: Plan, model: nn.Module, groups: Groups) -> None:
    model.get_parameter("hidden.0.weight").requires_grad_(False)


def left_out(plan: Plan, model: nn.Module, groups: Groups) -> None:
    del groups["hidden.0.weight"]


def stronger_branches(power: float) -> Edit:
    """Give the branches a factor after the model was planned."""

    def edit(plan: Plan, model: nn.Module, groups: Groups) -> None:
        model.factor = len(model.up) ** power  # type: ignore[assignment, arg-type]

    return edit


def drawn_again(model: nn.Module) -> nn.Module:
    """Draw the layers again after the plan has initialised them, as some trainers do."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return model


class OneRate:
    """A schedule that writes one rate to all groups."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = RATE
