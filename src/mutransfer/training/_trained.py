"""The result of training: losses, and what was evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """The losses of members that were trained.

    Numbers are float64 on the CPU. They are not a number for the steps and evaluations that a
    diverged member was not trained for any more.

    Attributes:
        losses: The loss of every step before its update, label smoothing included.
        evaluations: Numbers of steps after which members were evaluated; none without validation
            data.
        validation: The loss of the validation data, without label smoothing.
        metrics: The task's metrics of the validation data.
        diverged: The step at which each member diverged, None where it did not.
        stopped: The number of steps after which a judge stopped each member, None where it did
            not.
        unfinished: The members that were not trained to their end, as a watch raised `Interrupted`.
    """

    losses: Float[Tensor, "member steps"]
    evaluations: tuple[int, ...]
    validation: Float[Tensor, "member evaluation"]
    metrics: Mapping[str, Float[Tensor, "member evaluation"]]
    diverged: list[int | None]
    stopped: list[int | None]
    unfinished: set[int] = field(default_factory=set)

    @classmethod
    def empty(cls, members: int, recipe: Recipe) -> Trained:
        """Return the result before any step, all of it not a number."""

        def missing(columns: int) -> Tensor:
            return torch.full((members, columns), float("nan"), dtype=torch.float64)

        evaluations = recipe.evaluations()
        return cls(
            losses=missing(recipe.steps),
            evaluations=evaluations,
            validation=missing(len(evaluations)),
            metrics={name: missing(len(evaluations)) for name in recipe.task.metrics},
            diverged=[None] * members,
            stopped=[None] * members,
        )

    def so_far(self) -> tuple[Float[Tensor, "member steps"], Int[Tensor, " member"]]:
        """Return the losses, and the number of steps that each member has done."""
        return self.losses, (~self.losses.isnan()).sum(1)

    def write(
        self, members: Tensor | int, number: int, measured: Float[Tensor, "*member measures"]
    ) -> None:
        """Write an evaluation of these members, their loss and metrics."""
        loss, *metrics = measured.cpu().unbind(-1)
        self.validation[members, number] = loss
        for values, column in zip(metrics, self.metrics.values(), strict=True):
            column[members, number] = values
