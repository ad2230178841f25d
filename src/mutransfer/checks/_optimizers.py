"""The optimizers of one network: torch's own, or those of the user."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import nn

from ..core import MutransferError
from ..plans import way_out
from ..pytorch import VARIANTS, Plan, torch_class
from ..rules import Family
from ._setup import Setup

OWN_TRAINING = "give train=lambda plan, model: <your optimizer>"


class Optimizers(NamedTuple):
    """All optimizers of a network, and a schedule if there is one."""

    optimizers: tuple[torch.optim.Optimizer, ...]
    schedule: Any

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Make one step of all optimizers, then of the schedule."""
        for optimizer in self.optimizers:
            optimizer.step()
        if self.schedule is not None:
            self.schedule.step()


def optimizers_of(setup: Setup, plan: Plan, model: nn.Module) -> Optimizers:
    """Return the user's own optimizers, or one of torch for each family.

    Raises:
        MutransferError: torch has no optimizer for a family, or no such hyperparameter.
    """
    if setup.train is not None:
        returned = setup.train(plan, model)
        parts = list(returned) if isinstance(returned, tuple | list) else [returned]
        optimizers = tuple(part for part in parts if hasattr(part, "param_groups"))
        others = (part for part in parts if not hasattr(part, "param_groups"))
        return Optimizers(optimizers, next(others, None))
    families = plan.optimizers.values()
    for family in families:
        _check_trainable(family)
    if setup.eps is not None and all(family.eps is None for family in families):
        raise MutransferError(f"{plan.optimizer} has no eps")
    built = (_optimizer(setup, plan, model, family) for family in families)
    return Optimizers(tuple(each for each in built if each is not None), None)


def _optimizer(
    setup: Setup, plan: Plan, model: nn.Module, family: Family
) -> torch.optim.Optimizer | None:
    """Return torch's optimizer of one family; None if it has nothing to train."""
    groups = plan.param_groups(
        model,
        setup.lr,
        eps=None if family.eps is None else setup.eps,
        weight_decay=setup.weight_decay,
        optimizer=family.name,
    )
    if not groups:
        return None
    cls: Callable[..., torch.optim.Optimizer] | None = torch_class(family)
    assert cls is not None, "families without an optimizer were refused"
    _check_matrices(family, groups)
    settings = dict(VARIANTS.get(family.name, {}))
    # Fused kernels are faster, but do not take every kind of sharded or compiled parameter.
    if "fused" in signature(cls).parameters and setup.prepare is None:
        settings["fused"] = True
    return cls(groups, **settings)


def _check_matrices(family: Family, groups: list[dict[str, Any]]) -> None:
    """Raise where torch's optimizer of matrices would get the kernel of a convolution."""
    pairs = [zip(group["names"], group["params"], strict=True) for group in groups]
    kernels = [name for each in pairs for name, p in each if p.dim() > 2]
    if family.matrices and kernels:
        raise MutransferError(
            f"torch's optimizer for {family.name} takes matrices only, and {kernels[0]} is a "
            f"kernel: {OWN_TRAINING}, which flattens it, or {way_out(family, kernels)}"
        )


def _check_trainable(family: Family) -> None:
    if torch_class(family) is not None:
        return
    known = ""
    if family.name.startswith("muon"):
        known = (
            "torch.optim.Muon scales its updates as muon-original, or as muon-match-rms: "
            "name one of these, such as optimizer='muon-original+adamw', or "
        )
    raise MutransferError(f"torch has no optimizer for {family.name}: {known}{OWN_TRAINING}")
