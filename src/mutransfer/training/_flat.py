"""Torch's optimizers of matrices for kernels of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class FlatKernels:
    """An optimizer of matrices that trains kernels, too, flattened.

    It gets views (out, in * kernel) of the kernels, which share the memory of the model's
    parameters.

    Args:
        kind: The optimizer's class.
        groups: Parameter groups.
        settings: The optimizer's settings.
    """

    def __init__(
        self,
        kind: Callable[..., torch.optim.Optimizer],
        groups: list[dict[str, Any]],
        **settings: Any,
    ) -> None:
        self._views: list[tuple[nn.Parameter, nn.Parameter]] = []
        flat = [{**group, "params": [*map(self._flat, group["params"])]} for group in groups]
        self._optimizer = kind(flat, **settings)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups, whose rates a schedule changes."""
        return self._optimizer.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients of kernels and matrices."""
        self._optimizer.zero_grad()
        for kernel, _ in self._views:
            kernel.grad = None

    def step(self) -> None:
        """Update kernels and matrices."""
        for kernel, view in self._views:
            view.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        self._optimizer.step()

    def _flat(self, parameter: nn.Parameter) -> nn.Parameter:
        if parameter.dim() <= 2:
            return parameter
        # Kernels whose channels come last in memory have no such view.
        parameter.data = parameter.data.contiguous()
        view = nn.Parameter(parameter.detach().view(len(parameter), -1))
        self._views.append((parameter, view))
        return view
