"""A residual MLP in unit scaling (2407.17465): all tensors start at scale 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...rules import Role, parametrization, tau

_RULE = parametrization("u-mup")


class _Scaled(torch.autograd.Function):
    """The identity, times one factor forwards and another one backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forwards: float, backwards: float) -> Tensor:
        ctx.factor = backwards
        return x * forwards

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.factor, None, None


def scaled(x: Tensor, forwards: float = 1.0, backwards: float = 1.0) -> Tensor:
    """Return x times a factor, with the gradient times another one."""
    return _Scaled.apply(x, forwards, backwards)  # type: ignore[no-any-return,no-untyped-call]


class UnitLinear(nn.Module):
    """A matrix of scale 1, with multipliers forwards and of both gradients."""

    def __init__(self, fan_in: int, fan_out: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        fan_out = len(self.weight)
        weight = scaled(self.weight, backwards=len(x) ** -0.5)
        return scaled(scaled(x, backwards=fan_out**-0.5) @ weight.T, forwards=self.scale)


class UnitResidualMLP(nn.Module):
    """The network of `tasks.resmlp` in unit scaling, with u-muP's residuals."""

    def __init__(self, width: int, depth: int, inputs: int, classes: int) -> None:
        super().__init__()
        hidden, readout = (
            _RULE.multiplier(role, "unit").evaluate({"fan_in": width})
            for role in (Role.HIDDEN, Role.READOUT)
        )
        self.input = UnitLinear(inputs, width, inputs**-0.5)
        self.up = nn.ModuleList(UnitLinear(width, width, hidden) for _ in range(depth))
        self.down = nn.ModuleList(UnitLinear(width, width, hidden) for _ in range(depth))
        self.readout = UnitLinear(width, classes, readout)
        self.residual = tau(depth)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        x = self.input(x)
        weights = zip(self.residual.skip, self.residual.branch, strict=True)
        for up, down, (skip, branch) in zip(self.up, self.down, weights, strict=True):
            # The branch's factor acts backwards where it begins, so that inside it gradients are
            # of the stream's scale.
            inside = up(scaled(x, backwards=branch))
            changed = down(2**0.5 * F.relu(inside))
            x = skip * x + scaled(changed, forwards=branch)
        logits = self.readout(x)
        classes = logits.shape[-1]
        return scaled(logits, backwards=len(x) * classes / (classes - 1) ** 0.5)


def unit_resmlp(width: int, depth: int, inputs: int = 64, classes: int = 10) -> nn.Module:
    """Return a unit-scaled residual MLP."""
    return UnitResidualMLP(width, depth, inputs, classes)
