"""Lion as a torch optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Lion: the sign of interpolated momentum (2302.06675), decay decoupled.

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate.
        betas: Decay rates of the interpolation and of the momentum.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["first"] = torch.zeros_like(parameter)
                gradient = _real(parameter.grad.resolve_conj())
                values, first = _real(parameter), _real(state["first"])
                values.mul_(1 - group["lr"] * group["weight_decay"])
                update = first.lerp(gradient, 1 - beta1).sign_()
                values.sub_(group["lr"] * update)
                first.lerp_(gradient, 1 - beta2)


def _real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as real and imaginary parts, as torch does."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
