"""Optimizers by name and class, and small models that they train."""

from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.rules import Family, powers
from mutransfer.tasks import gpt
from tests.models import matrices

optim: Any = torch.optim
KNOWN = {
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adamw",
    "NAdam": "nadam",
    "RAdam": "radam",
    "Adagrad": "adagrad",
    "RMSprop": "rmsprop",
    "Adamax": "adamax",
    "Adafactor": "adafactor",
    "Muon": "muon-original",
}
CLASSES = {name: known for name, known in KNOWN.items() if hasattr(optim, name)}
TORCHS = {
    name: cls
    for name, cls in vars(optim).items()
    if isinstance(cls, type) and issubclass(cls, optim.Optimizer)
}
REST = sorted(TORCHS.keys() - KNOWN)
MUON = pytest.mark.skipif(not hasattr(optim, "Muon"), reason="this torch has no Muon")
MIX = {"hidden": "muon-original", "*": "adamw"}
MINE = Family(
    name="mine",
    homogeneity="1/2",
    gain=powers(fan_in="3/4"),
    unaligned=powers(fan_in="1/4"),
    eps=powers(fan_in=1, fan_out="1/2"),
    eps_degree=2,
    decay="independent",
    caveat="only for this test",
)
"""A family of the user's own."""


class Foreign(torch.optim.Optimizer):
    """An optimizer that torch does not have; it does nothing."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"momentum": 0.9})

    def step(self, closure: Any = None) -> None:
        pass


class Descendant(torch.optim.AdamW):
    """A class derived from AdamW, whose update may be anything."""


def small(optimizer: Any, **options: Any) -> mt.Plan:
    """Plan three matrices, the smallest model that every optimizer takes."""
    return mt.plan(matrices(16), matrices(8), optimizer=optimizer, **options)


def gpts(wider: int = 2, deeper: int = 2) -> tuple[nn.Module, nn.Module]:
    sizes = {"vocabulary": 13, "context": 8}
    return gpt(32 * wider, 2 * deeper, **sizes), gpt(32, 2, **sizes)


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the group of each tensor."""
    return {name: group for group in groups for name in group["names"]}
