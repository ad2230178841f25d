"""A planned training, with faults and harmless changes of its optimizers."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks import mlp

optim: Any = torch.optim
MIX = {"hidden": "sgd", "*": "adamw"}
HIDDEN, READOUT = "hidden.0.weight", "readout.weight"


def small(width: int) -> nn.Module:
    return mlp(width, inputs=6, outputs=3)


class Training:
    """A model of four times its base's width, its plan, and optimizers of its groups.

    Args:
        optimizer: The optimizers of the plan.
        cls: The class of the optimizer, or one for each of several.
        lr: The rate at base size.
        options: Arguments of the classes.
        roles: Declared roles.
        given: Arguments of `param_groups`.
    """

    def __init__(
        self,
        optimizer: Any = "adamw",
        cls: Any = optim.AdamW,
        *,
        lr: Any = 0.1,
        options: dict[str, Any] | None = None,
        roles: dict[str, str] | None = None,
        **given: Any,
    ) -> None:
        self.model, base = small(32), small(8)
        self.plan = mt.plan(self.model, base, optimizer=optimizer, roles=roles)
        classes = cls if isinstance(cls, dict) else {next(iter(self.plan.optimizers)): cls}
        self.optimizers = []
        for name, kind in classes.items():
            groups = self.plan.param_groups(self.model, lr, optimizer=name, **given)
            self.optimizers.append(kind(groups, **(options or {})))

    @property
    def groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def group(self, name: str) -> dict[str, Any]:
        return next(group for group in self.groups if name in group["names"])

    def parameter(self, name: str) -> nn.Parameter:
        return self.model.get_parameter(name)

    def drop(self, name: str) -> nn.Parameter:
        """Remove a parameter from its group."""
        group, parameter = self.group(name), self.parameter(name)
        group["params"] = [p for p in group["params"] if p is not parameter]
        return parameter

    def audit(self, **options: Any) -> Any:
        return self.plan.audit(self.model, *self.optimizers, **options)


def mixed(lr: float = 0.1) -> Training:
    return Training(MIX, {"sgd": optim.SGD, "adamw": optim.AdamW}, lr=lr)


def set_all(key: str, value: Callable[[Any], Any]) -> Callable[[Training], None]:
    def change(t: Training) -> None:
        for group in t.groups:
            group[key] = value(group[key])

    return change


def set_one(name: str, key: str, value: Callable[[Any], Any]) -> Callable[[Training], None]:
    def change(t: Training) -> None:
        t.group(name)[key] = value(t.group(name)[key])

    return change


def without(key: str) -> Callable[[Training], None]:
    return lambda t: t.group(HIDDEN).__delitem__(key)


def freeze(*names: str) -> Callable[[Training], None]:
    def change(t: Training) -> None:
        for name in names:
            t.parameter(name).requires_grad_(False)

    return change


def drop(t: Training) -> None:
    t.drop(HIDDEN)


def drop_frozen(t: Training) -> None:
    t.drop(HIDDEN).requires_grad_(False)


def twice(t: Training) -> None:
    t.optimizers.append(optim.AdamW(t.plan.param_groups(t.model, 0.1)))


def twice_in_a_group(t: Training) -> None:
    t.group(HIDDEN)["params"].append(t.parameter(HIDDEN))


def split(t: Training) -> None:
    """Distribute the groups over two optimizers."""
    groups = t.plan.param_groups(t.model, 0.1)
    t.optimizers = [optim.AdamW(groups[:2]), optim.AdamW(groups[2:])]


def stranger(t: Training) -> None:
    t.group(HIDDEN)["params"].append(nn.Parameter(torch.zeros(7, 5)))


def stranger_apart(t: Training) -> None:
    t.optimizers[0].add_param_group({"params": [nn.Parameter(torch.zeros(7, 5))], "lr_factor": 1.0})


def copied(t: Training) -> None:
    t.model = copy.deepcopy(t.model)


def replaced(t: Training) -> None:
    t.model.readout.weight = nn.Parameter(torch.zeros(3, 32))


def reloaded(t: Training) -> None:
    t.model.load_state_dict(copy.deepcopy(t.model.state_dict()))


def thaw(t: Training) -> None:
    t.optimizers[0].add_param_group({"params": [t.parameter(HIDDEN)], "lr_factor": 1.0})


def thaw_unasked(t: Training) -> None:
    thaw(t)
    t.parameter(HIDDEN).requires_grad_(False)


def thaw_with_gradient(t: Training) -> None:
    thaw(t)
    t.parameter(HIDDEN).grad = torch.zeros(32, 32)
    t.parameter(HIDDEN).requires_grad_(False)


def own_optimizer(cls: Any, **settings: Any) -> Callable[[Training], None]:
    """Replace the optimizers by one without the plan's groups."""

    def change(t: Training) -> None:
        t.optimizers = [cls(t.model.parameters(), **settings)]

    return change


def share(view: bool = False) -> Callable[[Training], None]:
    def change(t: Training) -> None:
        names = {"input.weight", HIDDEN}
        first, second = (group for group in t.groups if group["names"][0] in names)
        second["lr"] = first["lr"].view(()) if view else first["lr"]

    return change


def scale_in_place(t: Training) -> None:
    for group in t.groups:
        group["lr"].mul_(0.3)


def of_width(width: int) -> Callable[[Training], None]:
    """Load the state of the optimizer at another width."""

    def change(t: Training) -> None:
        model = small(width)
        other = optim.AdamW(mt.plan(model, small(8)).param_groups(model, 0.1))
        t.optimizers[0].load_state_dict(other.state_dict())

    return change


def nothing(t: Training) -> None:
    pass


def step(t: Training) -> None:
    """Take one step on a random batch."""
    for optimizer in t.optimizers:
        optimizer.zero_grad()
    F.cross_entropy(t.model(torch.randn(8, 6)), torch.arange(8) % 3).backward()
    for optimizer in t.optimizers:
        optimizer.step()
