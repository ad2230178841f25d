"""Members of one shape, and the recipe that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..core import FrozenDict, MutransferError, frozen
from ..plans import Row
from ..tasks import Task
from ._optimizers import options_by_family

Watch = Callable[[int], None]
"""A callback that receives the number of member-steps just done."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One configuration: a model, the hyperparameters of its tensors, its seed.

    Members with the same initial draw may share one model: it is copied, never changed.

    Attributes:
        model: The initialised model.
        table: The hyperparameters of each tensor, as `Plan.table` returns them.
        seed: The seed of its batches.
    """

    model: nn.Module
    table: Mapping[str, Row]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training that all members share.

    Attributes:
        task: Data and loss.
        steps: Number of optimizer steps.
        batch: Examples a step.
        optimizer: The optimizer family: "sgd", "adam", "adamw", "muon-original" or
            "muon-match-rms". Two share the work as "muon-original+adamw".
        options: What else the optimizer takes, such as betas or momentum; by family where two
            share the work, such as {"adamw": {"betas": (0.9, 0.95)}}.

    Raises:
        MutransferError: the optimizer is unknown, or does not take an option.
    """

    task: Task
    steps: int
    batch: int
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", frozen(self.options or {}))
        check_optimizer(self.optimizer, self.options, "a recipe")

    def families(self) -> dict[str, Mapping[str, Any]]:
        """Return the options of each optimizer family."""
        return options_by_family(self.optimizer, self.options, "a recipe")


def check_optimizer(optimizer: str, options: Mapping[str, Any], where: str) -> None:
    """Raise unless training knows the optimizer and its options.

    Args:
        optimizer: A family, or two that share the work, such as "muon-original+adamw".
        options: The optimizer's options; by family where two are named.
        where: Where the optimizer was named, such as "a study".

    Raises:
        MutransferError: naming the optimizer or the option, and what there is instead.
    """
    options_by_family(optimizer, options, where)


def check_members(members: Sequence[Member], recipe: Recipe) -> None:
    """Raise unless every trained tensor has hyperparameters of the recipe's families.

    Raises:
        MutransferError: there are no members, one of them has nothing to train, or naming the
            member and its tensor.
    """
    if not members:
        raise MutransferError("there is nothing to train: give at least one member")
    families = recipe.families()
    for number, member in enumerate(members):
        trained = [name for name, p in member.model.named_parameters() if p.requires_grad]
        if not trained:
            raise MutransferError(
                "no parameter of the model trains: requires_grad is False for all of them, or it "
                "has none"
            )
        for name in trained:
            if name not in member.table:
                raise MutransferError(f"{name} is not in the table of member {number}")
            if (family := member.table[name].optimizer) not in families:
                raise MutransferError(
                    f"{name} of member {number} is planned for {family}, but the recipe trains "
                    f"with {recipe.optimizer}: plan and recipe need one optimizer"
                )
