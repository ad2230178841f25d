"""The plain form compared with Table 8 of Tensor Programs V (2203.03466)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.rules import Quantities, family, parametrization


def table8(plan: mt.Plan, name: str) -> Quantities:
    """Return a tensor's quantities in the form of Table 8 (AdamW)."""
    tensor, rule = plan[name], parametrization(plan.rule)
    return rule.quantities(tensor.role, family("adamw"), tensor.place, form="table8")


def groups8(
    plan: mt.Plan, model: nn.Module, lr: float, eps: float, decay: float
) -> list[dict[str, Any]]:
    """Return a group for each tensor, with the values of Table 8."""
    groups = []
    for name, parameter in model.named_parameters():
        q, ratios = table8(plan, name), {"head_dim": 1, **plan[name].ratios}
        values = {"lr": (lr, q.lr), "eps": (eps, q.eps), "weight_decay": (decay, q.decay)}
        settings = {k: base * power.evaluate(ratios) for k, (base, power) in values.items()}
        groups.append({"params": [parameter]} | settings)
    return groups


def difference(outputs: Tensor, others: Tensor) -> float:
    """Return the distance of two trainings over how far the first one moved."""
    return ((outputs - others).norm() / (outputs - outputs[0]).norm()).item()


def assert_starts_at_table8(plan: mt.Plan, model: nn.Module, rel: float) -> None:
    """Check that tensors without the multipliers they carry have the scale of Table 8."""
    for tensor in plan.tensors.values():
        run = [model.get_parameter(n) / plan[n].factor("multiplier") for n in tensor.run]
        rms = torch.cat([value.flatten() for value in run]).square().mean().sqrt().item()
        law = table8(plan, tensor.name).init.evaluate(tensor.ratios)
        assert rms == pytest.approx((tensor.base_rms or 0.0) * law, rel=rel), tensor.name
