"""A base whose initial values have the size of many draws."""

from collections.abc import Callable

import torch
from torch import nn


@torch.no_grad()
def typical(build: Callable[[], nn.Module], draws: int = 100) -> nn.Module:
    """Return a network whose tensors have the RMS of many draws: that of one is off by chance.

    A plan gives larger networks the base's RMS, so that a base of one draw would tilt the exponents
    of all of them the same way.
    """
    torch.manual_seed(0)
    model, *others = (build() for _ in range(draws))
    for name, tensor in model.named_parameters():
        squares = [other.get_parameter(name).square().mean() for other in others]
        tensor *= torch.stack(squares).mean().sqrt() / tensor.square().mean().sqrt().clamp(1e-9)
    return model
