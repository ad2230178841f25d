"""SOAP and Shampoo for matrices as torch optimizers, with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ._updates_matrices import eigenbasis, fourth_root, turned


class _Matrixwise(torch.optim.Optimizer):
    """An optimizer that updates each matrix by itself."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, matrix.grad, group)

    def _update(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError


class Shampoo(_Matrixwise):
    """Shampoo for matrices (1802.09568, Algorithm 1).

    L += G G^T, R += G^T G, from eps times the identity; W -= lr L^-1/4 G R^-1/4.

    Args:
        params: Matrices, or parameter groups of them.
        lr: Learning rate.
        eps: Initial diagonal of both factors.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, eps: float = 1e-6, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    def _update(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["left"] = group["eps"] * torch.eye(len(matrix)).to(matrix)
            state["right"] = group["eps"] * torch.eye(matrix.shape[1]).to(matrix)
        state["left"].add_(gradient @ gradient.T)
        state["right"].add_(gradient.T @ gradient)
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.sub_(
            group["lr"] * fourth_root(state["left"]) @ gradient @ fourth_root(state["right"])
        )


class SOAP(_Matrixwise):
    """SOAP for matrices: Adam in the eigenbasis of Shampoo's factors (2409.11321).

    As its authors' code: the first step finds the basis alone, and later steps use the basis of
    the steps before them. The basis is an arbitrary one where the first gradient lacks directions.

    Args:
        params: Matrices, or parameter groups of them.
        lr: Learning rate.
        betas: Decay rates of the averages of the gradient and of its square.
        shampoo_beta: Decay rate of the averages of G G^T and G^T G; betas[1] by default.
        precondition_frequency: Steps between power iterations of the basis.
        eps: Added to the root of the average square.
        weight_decay: Decoupled weight decay, after the update.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float | None = None,
        precondition_frequency: int = 10,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "shampoo_beta": shampoo_beta,
            "precondition_frequency": precondition_frequency,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    def _update(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            self._start(matrix, gradient, group)
            return
        state["count"] += 1
        (beta1, beta2), count = group["betas"], state["count"]
        left, right = state["left basis"], state["right basis"]
        state["first"].lerp_(gradient, 1 - beta1)
        state["second"].lerp_((left.T @ gradient @ right).square(), 1 - beta2)
        direction = left.T @ state["first"] @ right / (state["second"].sqrt() + group["eps"])
        corrected = (1 - beta2**count) ** 0.5 / (1 - beta1**count)
        matrix.sub_(group["lr"] * corrected * (left @ direction @ right.T))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        self._average_sides(gradient, state, group)
        if count % group["precondition_frequency"] == 0:
            state["left basis"], rows = turned(state["left"], left)
            state["right basis"], columns = turned(state["right"], right)
            state["second"] = state["second"][rows][:, columns]

    def _start(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (rows, columns) = self.state[matrix], matrix.shape
        state["count"] = 0
        state["first"], state["second"] = torch.zeros_like(matrix), torch.zeros_like(matrix)
        state["left"], state["right"] = (
            matrix.new_zeros(rows, rows),
            matrix.new_zeros(columns, columns),
        )
        self._average_sides(gradient, state, group)
        state["left basis"] = eigenbasis(state["left"])
        state["right basis"] = eigenbasis(state["right"])

    @staticmethod
    def _average_sides(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta = group["betas"][1] if group["shampoo_beta"] is None else group["shampoo_beta"]
        state["left"].lerp_(gradient @ gradient.T, 1 - beta)
        state["right"].lerp_(gradient.T @ gradient, 1 - beta)
