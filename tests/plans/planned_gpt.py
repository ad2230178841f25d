"""Plans of one pair of GPTs, by rule and optimizer."""

from functools import cache
from typing import Any

import torch
from torch import nn

import mutransfer as mt
from mutransfer.tasks import gpt

MUON_MIX = (("hidden", "muon-original"), ("*", "adamw"))
SPECTRAL_MIX = (("hidden", "muon"), ("readout", "sophia"), ("*", "adamw"))


def gpts(wider: int = 2, deeper: int = 2, tied: bool = False) -> tuple[nn.Module, nn.Module]:
    """Build two GPTs on the meta device whose heads grow in size."""
    with torch.device("meta"):
        sizes: dict[str, Any] = {"vocabulary": 13, "context": 8, "heads": 2, "tied": tied}
        return gpt(32 * wider, deeper, **sizes), gpt(32, 1, **sizes)


def make_plan(rule: Any, tied: bool, optimizer: Any, sizes: tuple[int, int] = (2, 2)) -> mt.Plan:
    mix = optimizer if isinstance(optimizer, str) else dict(optimizer)
    return mt.plan(*gpts(*sizes, tied), rule=rule, optimizer=mix)


text_plan = cache(make_plan)


def planned_gpt(rule: Any = None, *, tied: bool = False, optimizer: Any = "adamw") -> mt.Plan:
    """Plan the pair; plans of a rule's text are made once."""
    make = text_plan if isinstance(rule, str) else make_plan
    return make(rule, tied, optimizer)
