"""Parameter groups: a plan's table over the parameters of a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..plans import Hyperparameters, Plan, Row, grouped, resolved, table
from ..rules import Family
from ._optimizers import torch_class
from ._tensors import smallest_eps


def model_table(
    plan: Plan,
    parameters: Mapping[str, nn.Parameter],
    hyperparameters: Hyperparameters,
    optimizer: str | None,
) -> dict[str, Row]:
    """Return the hyperparameters of every trained tensor; see `Plan.table`."""
    families = [*plan.optimizers] if optimizer is None else [optimizer]
    tables = [torch_table(plan, parameters, hyperparameters, family) for family in families]
    rows = {name: row for rows in tables for name, row in rows.items()}
    return {name: rows[name] for name in plan.tensors if name in rows}


def torch_table(
    plan: Plan,
    parameters: Mapping[str, nn.Parameter],
    hyperparameters: Hyperparameters,
    optimizer: str | None = None,
) -> dict[str, Row]:
    """Return the table of the trained tensors of one family, with torch's defaults.

    Args:
        plan: The plan.
        parameters: The model's parameters by planned name.
        hyperparameters: The hyperparameters at base size; None stands for torch's default.
        optimizer: The family, where several train the model.

    Raises:
        MutransferError: the optimizer has no such hyperparameter, or a pattern matches nothing.
    """
    family = plan.family(optimizer)
    values = resolved(hyperparameters, family, torch_defaults(family))
    trained = [
        name
        for name, tensor in plan.tensors.items()
        if tensor.optimizer == family.name and tensor.is_trained
    ]
    tables = {
        dtype: table(plan, _with_first_eps(values, dtype), optimizer=family.name)
        for dtype in dict.fromkeys(parameters[name].dtype for name in trained)
    }
    return {name: tables[parameters[name].dtype][name] for name in trained}


def parameter_groups(
    rows: Mapping[str, Row], parameters: Mapping[str, nn.Parameter]
) -> list[dict[str, Any]]:
    """Return a table as parameter groups, one for each set of equal hyperparameters."""
    return [
        {"params": [parameters[name] for name in names], "names": names, **row.group()}
        for names, row in grouped(rows)
    ]


def torch_defaults(family: Family) -> dict[str, Any]:
    """Return the defaults of torch's optimizer of a family; none without one."""
    cls = torch_class(family)
    if cls is None:
        return {}
    return {name: p.default for name, p in inspect.signature(cls).parameters.items()}


def _with_first_eps(values: Hyperparameters, dtype: torch.dtype) -> Hyperparameters:
    """Return the hyperparameters with Adafactor's first eps for tensors of a type."""
    if isinstance(values.eps, tuple) and values.eps[0] is None:
        return replace(values, eps=(smallest_eps(dtype), values.eps[1]))
    return values
