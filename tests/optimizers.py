"""Optimizers that the library knows nothing about."""

from typing import Any

import torch


class Foreign(torch.optim.Optimizer):
    """An optimizer that torch does not have; it does nothing."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"momentum": 0.9})

    def step(self, closure: Any = None) -> None:
        pass


class Descendant(torch.optim.AdamW):
    """A class derived from AdamW, whose update may be anything."""
