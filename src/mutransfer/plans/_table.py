"""The table of a plan: the hyperparameters of every tensor.

Everything that applies a plan reads this table: parameter groups, stacked training, audits,
exports and checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._hyperparameters import UNITS, Hyperparameters
from ._plan import Plan
from ._tensor import TensorPlan

Eps = float | tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """The hyperparameters of one tensor.

    Attributes:
        optimizer: Name of the family that trains it.
        init: Factor of its initial standard deviation over the base's.
        lr: Its learning rate.
        lr_factor: The rate over the rate at base size.
        eps: Its eps; None where its optimizer has none; a pair for Adafactor.
        weight_decay: The weight decay that the optimizer is given for it.
        rho: Its threshold under Sophia; None for other optimizers.
        multiplier: The explicit multiplier that is folded into it.
    """

    optimizer: str
    init: float
    lr: Any
    lr_factor: float
    eps: Eps
    weight_decay: float
    rho: float | None
    multiplier: float

    def group(self) -> dict[str, Any]:
        """Return the entries of a parameter group, in the optimizer's own words."""
        group = {"lr": self.lr, "lr_factor": self.lr_factor, "weight_decay": self.weight_decay}
        optional = {"eps": self.eps, "rho": self.rho}
        return group | {name: value for name, value in optional.items() if value is not None}


def table(
    plan: Plan,
    hyperparameters: Hyperparameters | None = None,
    optimizer: str | None = None,
) -> dict[str, Row]:
    """Return the hyperparameters of every tensor at given values at base size.

    Args:
        plan: The plan.
        hyperparameters: The values at base size, without defaults left open (`resolved`). By
            default each is 1, and the table holds the factors themselves.
        optimizer: The family whose tensors are wanted; all of them by default.

    Returns:
        A row for each tensor in the plan's order, frozen ones among them.
    """
    values = hyperparameters or UNITS
    values.check(plan)
    return {
        name: _row(plan, tensor, values)
        for name, tensor in plan.tensors.items()
        if optimizer is None or tensor.optimizer == optimizer
    }


def _row(plan: Plan, tensor: TensorPlan, values: Hyperparameters) -> Row:
    family = plan.optimizers[tensor.optimizer]
    lr_factor = tensor.factor("lr") * values.module_factor(tensor.name)
    decays = values.decays(tensor.name, tensor.role)
    decay = (values.weight_decay or 0.0) * tensor.factor("decay")
    rho = values.rho if family.curvature else None
    return Row(
        optimizer=tensor.optimizer,
        init=tensor.factor("init"),
        lr=values.lr * lr_factor,
        lr_factor=lr_factor,
        eps=_eps(tensor, values.eps) if family.eps is not None else None,
        weight_decay=decay if decays else 0.0,
        rho=None if rho is None else rho / tensor.factor("eps"),
        multiplier=tensor.factor("multiplier"),
    )


def _eps(tensor: TensorPlan, eps: float | tuple[float | None, float] | None) -> Eps:
    """Return a tensor's eps; Adafactor's second is a floor of the tensor's own size."""
    if isinstance(eps, tuple):
        assert eps[0] is not None, "the first eps of Adafactor is resolved before it is scaled"
        # The floor is that of a tensor at its planned size; an initial scale of its own is tuned.
        size = tensor.init.substitute(init_scale=None).evaluate(tensor.ratios)
        return eps[0] * tensor.factor("eps"), eps[1] * size
    return None if eps is None else eps * tensor.factor("eps")


def grouped(rows: Mapping[str, Row]) -> list[tuple[list[str], Row]]:
    """Return the names of tensors with equal hyperparameters, with their row."""
    groups: dict[tuple[Any, ...], tuple[list[str], Row]] = {}
    for name, row in rows.items():
        key = row.optimizer, row.lr_factor, row.weight_decay, row.eps, row.rho
        groups.setdefault(key, ([], row))[0].append(name)
    return list(groups.values())
