"""The guard: an audit before every step that reads no more than it must."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core import MutransferError
from ..plans import Plan
from ._audit import bare_optimizers, compare, expected
from ._findings import Expectation, by
from ._planned import planned_parameters
from ._ratios import as_number, is_near, precision
from ._settings import READ

_KEYS = (
    *("lr_factor", "weight_decay", "eps", "rho", "decoupled_weight_decay", "adjust_lr_fn"),
    *READ,
)
"""Entries of a group that an audit depends on and a schedule leaves alone."""


@dataclass(frozen=True)
class Guard:
    """Audits before every step, until `remove` or the end of a `with`."""

    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        """End the audits."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def guard(
    plan: Plan,
    model: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, ...],
    modules: Mapping[str, float],
) -> Guard:
    """Audit now and before each step; see `Plan.guard`."""
    bare = bare_optimizers(optimizers)
    for optimizer in bare:
        if not hasattr(optimizer, "register_step_pre_hook"):
            raise MutransferError(
                f"{type(optimizer).__name__} is no torch.optim.Optimizer, and calls nothing before "
                "a step: call plan.audit(model, optimizer).raise_if_wrong() in the loop"
            )
    expectations = expected(plan, modules)
    passed: list[Any] = []
    families: dict[str, list[dict[str, Any]]] = {}

    def check(*_: object) -> None:
        # A full audit reads every tensor: while nothing but rates has changed since the last one,
        # it is enough that the rates of each family keep their ratios.
        state = _state(model, bare)
        if passed == state and all(_in_ratio(groups) for groups in families.values()):
            return
        compare(plan, expectations, model, bare).raise_if_wrong()
        passed[:] = state
        families.clear()
        families.update(_groups_by_family(plan, expectations, model, bare))

    check()
    return Guard(tuple(optimizer.register_step_pre_hook(check) for optimizer in bare))


def _groups_by_family(
    plan: Plan,
    expectations: Mapping[str, Expectation],
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
) -> dict[str, list[dict[str, Any]]]:
    names = {id(p): name for name, p in planned_parameters(plan, model).items()}
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    # Groups of other parameters may have factors of another plan.
    scaled = [g for g in groups if "lr_factor" in g and any(id(p) in names for p in g["params"])]
    return by(lambda group: expectations[names[id(group["params"][0])]].family.name, scaled)


def _state(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> list[Any]:
    """Return what an audit depends on but the rates, for comparison with itself."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    values = [[group.get(key) for key in _KEYS] for group in groups]
    rates = [
        lr.data_ptr() if isinstance(lr := group.get("lr"), Tensor) else "lr" in group
        for group in groups
    ]
    members = [(id(p), p.requires_grad) for group in groups for p in group["params"]]
    sizes = [(id(group), len(group["params"])) for group in groups]
    return [values, rates, sizes, members, [(id(p), p.requires_grad) for p in model.parameters()]]


def _in_ratio(groups: Sequence[Mapping[str, Any]]) -> bool:
    """Return True where all rates over their factors are the same."""
    rates = [(as_number(group["lr"]), group["lr_factor"]) for group in groups]
    rate, factor = max(rates, key=itemgetter(1))
    common = rate / factor if factor else 0.0
    spread = max(precision(group["lr"]) for group in groups)
    return all(is_near(rate, factor * common, spread) for rate, factor in rates)
