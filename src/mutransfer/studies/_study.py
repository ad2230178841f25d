"""A Study: what is trained at which rates, and what all of its runs share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise, product
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import nn

from ..core import FrozenDict, MutransferError, Size, frozen
from ..pytorch import build_model, builder_name
from ..rules import DEFAULT, Parametrization
from ..tasks import Task
from ..tasks import task as find_task
from ..training import check_optimizer
from ._rules import Rule, checked_rules, rule_name, trained_data
from ._run import Run

AXES = ("width", "depth")
"""The axes of a study's sizes."""


def log2(low: int, high: int) -> list[float]:
    """Return the learning rates 2^low, ..., 2^high, one an octave.

    >>> log2(-3, -1)
    [0.125, 0.25, 0.5]

    Raises:
        MutransferError: a power is no whole number, or high lies below low.
    """
    if not all(_is_whole(power) for power in (low, high)):
        raise MutransferError(
            f"log2({low!r}, {high!r}): give whole powers of two{_powers_for(low, high)}, or the "
            "rates themselves: lr=[...]"
        )
    if high < low:
        raise MutransferError(f"log2({low}, {high}) is empty: give the lower power first")
    return [2.0**power for power in range(int(low), int(high) + 1)]


def _is_whole(power: Any) -> bool:
    return _is_number(power) and math.isfinite(power) and power == int(power)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _powers_for(low: Any, high: Any) -> str:
    """Return a call of `log2` for two rates, in words."""
    if not all(_is_number(rate) and 0 < rate < math.inf for rate in (low, high)):
        return ", such as log2(-14, -3)"
    return f", such as log2({math.floor(math.log2(low))}, {math.ceil(math.log2(high))})"


@dataclass(frozen=True)
class Study:
    """A sweep over every combination of width, depth, rule, learning rate and seed.

    Args:
        build: Makes an untrained model: `build(width=..., depth=...)`.
        width: Widths, ascending.
        depth: Depths, ascending.
        lr: Learning rates, ascending; where two optimizers share the work, the rate of both.
        seeds: Seeds of initial draw and batches, or how many: 0, 1, ...
        rules: Names of parametrizations, "default", or custom Parametrizations.
        base: Where the rules are anchored, such as {"width": 64}: all their factors are 1 there.
            The smallest size by default.
        task: Data and loss, the name of a task, or the path of a text file.
        optimizer: "sgd", "adam", "adamw", "muon-original" or "muon-match-rms". Two share the work
            as "muon-original+adamw": hidden matrices, then the rest.
        options: What else the optimizer takes, such as betas or momentum; by family where two
            share the work, such as {"adamw": {"betas": (0.9, 0.95)}}.
        weight_decay: Weight decay at base size; torch's default where it is None.
        steps: Number of optimizer steps.
        batch: Examples a step.

    Raises:
        MutransferError: an argument is empty, unsorted, unknown or out of range; the message names
            it.
    """

    build: Callable[..., nn.Module]
    _: KW_ONLY
    width: tuple[int, ...]
    depth: tuple[int, ...]
    lr: tuple[float, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    rules: tuple[Rule, ...] = (DEFAULT,)
    base: Size = None  # type: ignore[assignment]
    task: Task = "digits"  # type: ignore[assignment]
    optimizer: str = "adamw"
    options: Mapping[str, Any] = field(default_factory=FrozenDict)
    weight_decay: float | None = None
    steps: int = 200
    batch: int = 64

    if TYPE_CHECKING:
        # The constructor takes more than the fields hold: `__post_init__` normalises it.
        def __init__(
            self,
            build: Callable[..., nn.Module],
            *,
            width: Sequence[int],
            depth: Sequence[int],
            lr: Sequence[float],
            seeds: int | Sequence[int] = 3,
            rules: Sequence[Rule] = (DEFAULT,),
            base: Mapping[str, int] | None = None,
            task: Task | str = "digits",
            optimizer: str = "adamw",
            options: Mapping[str, Any] | None = None,
            weight_decay: float | None = None,
            steps: int = 200,
            batch: int = 64,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in (*AXES, "lr"):
            _check_grid(name, getattr(self, name), whole=name in AXES)
        fields: dict[str, Any] = {
            "width": tuple(int(width) for width in self.width),
            "depth": tuple(int(depth) for depth in self.depth),
            "lr": tuple(float(rate) for rate in self.lr),
            "seeds": _seeds(self.seeds),
            "rules": checked_rules(self.rules),
            "task": self.task if isinstance(self.task, Task) else find_task(self.task),
            "options": frozen(self.options or {}),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "base", _base(self))
        _check_training(self)

    def runs(self) -> list[Run]:
        """Return all runs, size by size from small to large, and rule by rule."""
        grid = product(self.sizes(), map(rule_name, self.rules), self.lr, self.seeds)
        return [
            Run(rule=rule, size=size, point={"lr": lr}, seed=seed) for size, rule, lr, seed in grid
        ]

    def sizes(self) -> list[Size]:
        """Return all sizes, from small to large."""
        return [Size(width=width, depth=depth) for width, depth in product(self.width, self.depth)]

    def rule(self, name: str) -> Rule:
        """Return the rule of this name, as data if the study has a custom one."""
        return next((rule for rule in self.custom_rules() if rule.name == name), name)

    def custom_rules(self) -> list[Parametrization]:
        """Return the rules that are not of the library."""
        return [rule for rule in self.rules if isinstance(rule, Parametrization)]

    def model(self, size: Mapping[str, int]) -> nn.Module:
        """Return an untrained model of this size.

        Raises:
            MutransferError: the builder failed.
        """
        return build_model(self.build, size)

    def identity(self) -> dict[str, Any]:
        """Return what all runs share.

        Two studies with the same identity may write one record, whatever their grids.
        """
        return {
            "build": builder_name(self.build),
            "base": dict(self.base),
            "task": self.task.name,
            "optimizer": self.optimizer,
            "options": dict(self.options),
            "weight_decay": self.weight_decay,
            "steps": self.steps,
            "batch": self.batch,
        }

    def run_id(self, run: Run) -> str:
        """Return a run's name in the record: a hash of the study's identity and the run.

        A custom rule is hashed with its data, as its name may come to mean another one.
        """
        rule = self.rule(run.rule)
        fields = run.row()
        if isinstance(rule, Parametrization):
            fields["rule"] = trained_data(rule)
        spec = json.dumps([self.identity(), fields], sort_keys=True, default=str)
        return hashlib.sha256(spec.encode()).hexdigest()[:16]


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    listed = range(seeds) if isinstance(seeds, int) else seeds
    numbers = tuple(int(seed) for seed in listed)
    if not numbers:
        raise MutransferError(
            "seeds is empty: give a number of at least 1, or the seeds themselves"
        )
    if len(set(numbers)) < len(numbers):
        raise MutransferError(f"seeds has repetitions: {list(numbers)}")
    return numbers


def _base(study: Study) -> Size:
    """Return the base's size, the smallest of the study along axes that are not given."""
    smallest = {axis: min(getattr(study, axis)) for axis in AXES}
    base = smallest | dict(study.base or {})
    if extra := base.keys() - smallest.keys():
        raise MutransferError(f"base has {', '.join(sorted(extra))}: it takes width and depth")
    for axis, value in base.items():
        _check_grid(f"base {axis}", [value], whole=True)
        if value > smallest[axis]:
            raise MutransferError(
                f"base {axis} is {value}, larger than the smallest {axis} of the study"
            )
    return Size({axis: int(value) for axis, value in base.items()})


def _check_training(study: Study) -> None:
    """Raise unless the optimizer, the steps and the batch can be trained with."""
    check_optimizer(study.optimizer, study.options, "a study")
    families = [name.strip() for name in study.optimizer.split("+")]
    if "adam" in families and study.weight_decay:
        raise MutransferError(
            "Adam adds weight decay to the gradient, which no width rule makes right; "
            "give optimizer='adamw'"
        )
    if study.steps < 1:
        raise MutransferError(f"steps is {study.steps}: train at least one step")
    if study.weight_decay is not None and study.weight_decay < 0:
        raise MutransferError(f"weight_decay is {study.weight_decay}: it cannot be negative")
    study.task.batches(0, 1, study.batch)


def _check_grid(name: str, values: Sequence[float], *, whole: bool) -> None:
    if not hasattr(values, "__len__") or isinstance(values, str):
        raise MutransferError(f"{name} is {values!r}: give a list, such as [{values}]")
    if len(values) == 0:
        raise MutransferError(f"{name} is empty: give at least one value")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise MutransferError(f"{name} has values that are not positive: {list(values)}")
    if whole and not all(value == int(value) for value in values):
        raise MutransferError(f"{name} has values that are no whole numbers: {list(values)}")
    if any(b <= a for a, b in pairwise(values)):
        raise MutransferError(
            f"{name} is not in ascending order: {list(values)}; sort it and remove repetitions"
        )
