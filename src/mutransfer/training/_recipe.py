"""The recipe that all members share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from numbers import Real
from typing import Any

import torch

from ..core import FrozenDict, MutransferError, frozen
from ..tasks import Stream, Task, with_own_loss
from ._optimizers import UPDATES, options_by_family
from ._schedules import Schedule, schedule

PRECISIONS: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.float32,
    "float64": torch.float64,
}
"""The parameters' type in every precision; bfloat16 is autocast."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training that all members share.

    Attributes:
        task: Data and loss.
        steps: Number of optimizer steps.
        batch: Examples a step.
        optimizer: The optimizer family, one of `training.UPDATES`. Two share the work as
            "muon-original+adamw".
        options: What else the optimizer takes, such as betas or momentum; by family where two
            share the work, such as {"adamw": {"betas": (0.9, 0.95)}}.
        schedule: The schedule of the rate, one of `training.SCHEDULES`, or a function
            (step, steps) -> factor of the steps after warmup.
        warmup: Steps in which the rate rises along a line; a float below 1 is their share.
        clip: Largest norm of the gradients at base size, as `Plan.clip_grad_norm_` has it; None
            for no clipping.
        label_smoothing: Share of the uniform distribution in the targets of training; the loss of
            validation is without it.
        accumulate: Equal pieces of a batch whose gradients are added up, one after the other.
        precision: "float32" or "float64" to train in this type, "bfloat16" for autocast with
            parameters in float32; None for the model's own types.
        evaluate: Steps between evaluations of validation loss and metrics; None for the end only.
        device: The device, such as "cuda"; None for that of the model.

    Raises:
        MutransferError: a value is unknown or out of range; the message names it.
    """

    task: Task | Stream
    steps: int
    batch: int
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=FrozenDict)
    schedule: str | Schedule = "constant"
    warmup: float = 0
    clip: float | None = None
    label_smoothing: float = 0.0
    accumulate: int = 1
    precision: str | None = None
    evaluate: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", frozen(self.options or {}))
        check_optimizer(self.optimizer, self.options, "a recipe")
        for name in ("steps", "batch", "accumulate"):
            _check_count(name, getattr(self, name))
        self.factors()
        self._check_clip()
        self._check_label_smoothing()
        self._check_pieces()
        self._check_evaluate()

    def families(self) -> dict[str, Mapping[str, Any]]:
        """Return the options of each optimizer family."""
        return options_by_family(self.optimizer, self.options, "a recipe")

    def shared(self) -> Mapping[str, Any]:
        """Return what all members of one program have in common, by field.

        Left out is what each can have for its own: options that are numbers, such as betas and
        momentum, schedule, warmup and clip.
        """
        options = {name: UPDATES[name].shared(given) for name, given in self.families().items()}
        own = {"options", "schedule", "warmup", "clip"}
        common = {each.name: getattr(self, each.name) for each in fields(self)}
        common = {name: value for name, value in common.items() if name not in own}
        return FrozenDict({**common, "options": frozen(options)})

    def apart(self) -> Recipe:
        """Return the recipe of a run with a copy of the loss, which may keep state."""
        task = with_own_loss(self.task)
        return self if task is self.task else replace(self, task=task)

    def factors(self) -> list[float]:
        """Return the factor of the learning rate at every step."""
        return schedule(self.schedule, self.steps, self.warmup)

    def evaluations(self) -> tuple[int, ...]:
        """Return the numbers of steps after which the model is evaluated."""
        if self.task.validation is None:
            return ()
        every = self.steps if self.evaluate is None else self.evaluate
        return (*range(every, self.steps, every), self.steps)

    @property
    def dtype(self) -> torch.dtype | None:
        """The parameters' type in training; None for the model's own."""
        return None if self.precision is None else PRECISIONS[self.precision]

    def _check_clip(self) -> None:
        if self.clip is not None and not (_is_number(self.clip) and self.clip > 0):
            raise MutransferError(
                f"clip is {self.clip!r}: give the largest norm of the gradients at base size, such "
                "as 1.0, or None for no clipping"
            )

    def _check_label_smoothing(self) -> None:
        smoothing = self.label_smoothing
        if not (_is_number(smoothing) and 0 <= smoothing < 1):
            raise MutransferError(
                f"label_smoothing is {smoothing!r}: give a share from 0 to below 1, such as 0.1"
            )
        if smoothing and not _takes_label_smoothing(self.task.loss):
            raise MutransferError(
                f"the loss of task {self.task.name} takes no label_smoothing: give it this "
                "argument, as mutransfer.tasks.cross_entropy has it, or leave label_smoothing at 0"
            )

    def _check_pieces(self) -> None:
        if self.batch % self.accumulate:
            raise MutransferError(
                f"a batch of {self.batch} examples does not divide into {self.accumulate} equal "
                "pieces: choose batch and accumulate so that it does"
            )
        if self.precision is not None and self.precision not in PRECISIONS:
            raise MutransferError(
                f"unknown precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}, or "
                "None for the model's own"
            )

    def _check_evaluate(self) -> None:
        if self.evaluate is None:
            return
        _check_count("evaluate", self.evaluate)
        if self.task.validation is None:
            raise MutransferError(
                f"evaluate is {self.evaluate}, but task {self.task.name} has no validation data: "
                "give the task validation=(inputs, targets), or leave evaluate out"
            )


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


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MutransferError(f"{name} is {value!r}: give a whole number, at least 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _takes_label_smoothing(loss: Any) -> bool:
    try:
        return "label_smoothing" in signature(loss).parameters
    except (TypeError, ValueError):
        return False
