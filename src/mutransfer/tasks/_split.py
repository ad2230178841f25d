"""Data kept apart from training, chosen once for all."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

from ..core import MutransferError

Part = tuple[Tensor, Tensor]
"""Inputs and targets, one row an example."""

_SEED = 0
"""The seed of the choice, so that every study keeps the same examples apart."""


def checked_fraction(validation: float) -> float:
    """Return the fraction of data kept apart.

    Raises:
        MutransferError: it is not a number from 0 to 1.
    """
    if not (isinstance(validation, Real) and 0 <= validation < 1):
        raise MutransferError(
            f"validation={validation!r} is not the fraction of the data to keep apart: give a "
            "number from 0 to 1, such as 0.1"
        )
    return float(validation)


def set_apart(inputs: Tensor, targets: Tensor, validation: float) -> tuple[Part, Part | None]:
    """Return the examples to train on, in their order, and those kept apart.

    Args:
        inputs: One row an example.
        targets: One row an example.
        validation: Fraction to keep apart; at 0 nothing is, and the data stays as it is.

    Raises:
        MutransferError: one of the parts would be empty.
    """
    if not validation:
        return (inputs, targets), None
    examples = len(targets)
    kept = round(validation * examples)
    if not 0 < kept < examples:
        raise MutransferError(
            f"validation={validation} of {examples} examples keeps {kept} apart: give a fraction "
            "that leaves some for both"
        )
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(_SEED))
    apart, rest = order[:kept].sort().values, order[kept:].sort().values
    return (inputs[rest], targets[rest]), (inputs[apart], targets[apart])


def named(name: str, validation: float) -> str:
    """Return a task's name, which says what is kept apart."""
    return f"{name}, validation {validation:g}" if validation else name
