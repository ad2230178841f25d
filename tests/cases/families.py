"""Families of models beside the factors that theory gives for their tensors."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

import mutransfer as mt

BASE, WIDER = 16, 4
HIDDEN, INPUT, READOUT, VECTOR, SCALAR = "hidden", "input", "readout", "vector", "scalar"
NARROW = "hidden, onto a finite number of features"
ENDS, INSIDE, GAIN = "hidden, ends a branch", "hidden, in a branch", "vector, in a branch"

ROWS, SEQUENCES = torch.randn(4, 10), torch.randn(2, 6, 10)
IMAGES, WORDS = torch.randn(2, 3, 8, 8), torch.arange(12).reshape(2, 6)

Make = Callable[..., nn.Module]
Factors = tuple[float, float]

WIDTH: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    # Exponents of init and lr in the width, then in the depth.
    "adamw": {
        HIDDEN: (-0.5, -1, 0, 0),
        NARROW: (-0.5, -1, 0, 0),
        INPUT: (0, 0, 0, 0),
        READOUT: (-1, -1, 0, 0),
        VECTOR: (0, 0, 0, 0),
        SCALAR: (0, 0, 0, 0),
        ENDS: (-0.5, -1, -1, -1),
        INSIDE: (-0.5, -1, 0, 0),
        GAIN: (0, 0, 0, 0),
    },
    "sgd": {
        HIDDEN: (-0.5, 0, 0, 0),
        NARROW: (-0.5, -1, 0, 0),
        INPUT: (0, 1, 0, 0),
        READOUT: (-1, -1, 0, 0),
        VECTOR: (0, 1, 0, 0),
        SCALAR: (0, 0, 0, 0),
        ENDS: (-0.5, 0, -1, -1),
        INSIDE: (-0.5, 0, 0, 1),
        GAIN: (0, 1, 0, 1),
    },
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one architecture, and the roles that their tensors have by theory.

    Attributes:
        make: The model at a width, or at a width and a depth.
        right: The role of each tensor that matters, or its factors of init and lr under Adam; None
            where no rule is known, so that the family has to be refused.
        inputs: Example inputs.
        grow: Ratios of width and of depth to the base.
        branches: Number of residual branches of the base and of the model.
        refuse: True if a refusal is right, too.
        options: Further arguments of `plan`.
    """

    make: Make
    right: Mapping[str, str | Factors] | None
    inputs: Any = None
    grow: tuple[int, int] = (WIDER, 1)
    branches: tuple[int, int] | None = None
    refuse: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, wider: int = 1, deeper: int = 1) -> nn.Module:
        """Build the model at a multiple of the base's size."""
        parameters = inspect.signature(self.make).parameters.values()
        sizes = sum(each.default is each.empty for each in parameters)
        return self.make(*(BASE * wider, 2 * deeper)[:sizes])


def factors(role: str, optimizer: str, wider: int, deeper: Fraction) -> Factors:
    """Return the factors of init and lr of a role."""
    init, rate, init_depth, rate_depth = WIDTH[optimizer][role]
    depth = float(deeper)
    return wider**init * depth**init_depth, wider**rate * depth**rate_depth


def wrong(family: Family, optimizer: str = "adamw") -> dict[str, Any]:
    """Return what is planned otherwise than theory has it, with what is right."""
    torch.manual_seed(0)
    wider, deeper = family.grow
    model, base = family.build(wider, deeper), family.build()
    options = {"example_inputs": family.inputs, "optimizer": optimizer, **family.options}
    try:
        plan = mt.plan(model, base, **options)
    except mt.MutransferError as refusal:
        right = family.right is None or family.refuse
        return {} if right else {"refused": str(refusal)}
    if family.right is None:
        return {"planned": plan.depth}
    found: dict[str, Any] = {}
    if family.branches not in (None, plan.depth):
        found["branches"] = plan.depth, family.branches
    ratio = Fraction(*(family.branches or (1, deeper))[::-1])
    for name, role in family.right.items():
        if not isinstance(role, str) and optimizer != "adamw":
            continue
        right = factors(role, optimizer, wider, ratio) if isinstance(role, str) else role
        planned = plan[name].factor("init"), plan[name].factor("lr")
        if not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(planned, right, strict=True)):
            found[name] = planned, right
    return found


def cases(families: Mapping[str, Family], faults: Mapping[str, str]) -> list[Any]:
    """Return every family with both optimizers; known faults are expected to fail.

    Args:
        families: The families by name.
        faults: Reasons by name, or by name and optimizer as "name [sgd]" where one alone fails.
    """
    found = []
    for name in families:
        for optimizer in ("adamw", "sgd"):
            reason = faults.get(f"{name} [{optimizer}]") or faults.get(name)
            marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
            found.append(pytest.param(name, optimizer, marks=marks, id=f"{name}-{optimizer}"))
    return found
