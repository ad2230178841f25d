"""A Study: which networks are trained at which rates, and what all of its runs share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any

from torch import nn

from ..core import MutransferError, Size
from ..pytorch import build_model, builder_name
from ..rules import DEFAULT, parametrization
from ..tasks import Task
from ..tasks import task as find_task
from ..training import UPDATES, check_options


def log2(low: int, high: int) -> list[float]:
    """Learning rates 2^low, ..., 2^high, one an octave.

    >>> log2(-3, -1)
    [0.125, 0.25, 0.5]

    Raises:
        MutransferError: high lies below low.
    """
    if high < low:
        raise MutransferError(f"log2({low}, {high}) is empty: give the lower power first")
    return [2.0**power for power in range(low, high + 1)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of a study."""

    rule: str
    width: int
    depth: int
    lr: float
    seed: int

    @property
    def size(self) -> Size:
        """The network's size."""
        return Size(width=self.width, depth=self.depth)


@dataclass(frozen=True, init=False)
class Study:
    """A sweep over every combination of width, depth, rule, learning rate and seed.

    Args:
        build: Makes an untrained model: `build(width=..., depth=...)`.
        width: Widths, ascending.
        depth: Depths, ascending.
        lr: Learning rates, ascending.
        seeds: Seeds of initial draw and batches, or how many: 0, 1, ...
        rules: Names of parametrizations, or "default".
        base: Where the rules are anchored, such as {"width": 64}: all their factors are 1 there. The smallest size by default.
        task: Data and loss, the name of a task, or the path of a text file.
        optimizer: "sgd", "adam" or "adamw".
        options: What else the optimizer takes, such as betas or momentum.
        weight_decay: Weight decay at base size; torch's default where it is None.
        steps: Number of optimizer steps.
        batch: Examples a step.

    Raises:
        MutransferError: an argument is empty, unsorted, unknown or out of range; the message names it.
    """

    build: Callable[..., nn.Module]
    width: tuple[int, ...]
    depth: tuple[int, ...]
    lr: tuple[float, ...]
    seeds: tuple[int, ...]
    rules: tuple[str, ...]
    base: Size
    task: Task
    optimizer: str
    options: Mapping[str, Any]
    weight_decay: float | None
    steps: int
    batch: int

    def __init__(
        self,
        build: Callable[..., nn.Module],
        *,
        width: Sequence[int],
        depth: Sequence[int],
        lr: Sequence[float],
        seeds: int | Sequence[int] = 3,
        rules: Sequence[str] = (DEFAULT,),
        base: Mapping[str, int] | None = None,
        task: Task | str = "digits",
        optimizer: str = "adamw",
        options: Mapping[str, Any] | None = None,
        weight_decay: float | None = None,
        steps: int = 200,
        batch: int = 64,
    ) -> None:
        for name, values in {"width": width, "depth": depth, "lr": lr}.items():
            _check_grid(name, values, whole=name != "lr")
        numbers = (
            tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
        )
        _check_names(numbers, rules, optimizer)
        if optimizer == "adam" and weight_decay:
            raise MutransferError(
                "Adam adds weight decay to the gradient, which no width rule makes right; give optimizer='adamw'"
            )
        check_options(optimizer, options or {})
        if steps < 1:
            raise MutransferError(f"steps is {steps}: train at least one step")
        if weight_decay is not None and weight_decay < 0:
            raise MutransferError(f"weight_decay is {weight_decay}: it cannot be negative")
        smallest = {"width": min(width), "depth": min(depth)} | dict(base or {})
        if extra := smallest.keys() - {"width", "depth"}:
            raise MutransferError(f"base has {', '.join(sorted(extra))}: it takes width and depth")
        for name, value in smallest.items():
            _check_grid(f"base {name}", [value], whole=True)
        if larger := [
            name
            for name, sizes in {"width": width, "depth": depth}.items()
            if smallest[name] > min(sizes)
        ]:
            raise MutransferError(
                f"base {larger[0]} is {smallest[larger[0]]}, larger than the smallest {larger[0]} of the study"
            )
        data = task if isinstance(task, Task) else find_task(task)
        data.batches(0, 1, batch)
        fields: dict[str, Any] = {
            "build": build,
            "width": tuple(int(size) for size in width),
            "depth": tuple(int(size) for size in depth),
            "lr": tuple(float(rate) for rate in lr),
            "seeds": numbers,
            "rules": tuple(rules),
            "base": Size(**{name: int(value) for name, value in smallest.items()}),
            "task": data,
            "optimizer": optimizer,
            "options": dict(options or {}),
            "weight_decay": weight_decay,
            "steps": steps,
            "batch": batch,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def runs(self) -> list[Run]:
        """All runs, size by size from small to large, and rule by rule."""
        grid = product(self.width, self.depth, self.rules, self.lr, self.seeds)
        return [
            Run(rule=rule, width=width, depth=depth, lr=lr, seed=seed)
            for width, depth, rule, lr, seed in grid
        ]

    def sizes(self) -> list[Size]:
        """All sizes, from small to large."""
        return [Size(width=width, depth=depth) for width, depth in product(self.width, self.depth)]

    def model(self, size: Size) -> nn.Module:
        """An untrained model of this size.

        Raises:
            MutransferError: the builder failed.
        """
        return build_model(self.build, size)

    def identity(self) -> dict[str, Any]:
        """What all runs share: two studies with the same identity may write one record, whatever their grids."""
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
        """A run's name in the record: a hash of the study's identity and the run."""
        spec = json.dumps([self.identity(), asdict(run)], sort_keys=True, default=str)
        return hashlib.sha256(spec.encode()).hexdigest()[:16]


def _check_names(seeds: tuple[int, ...], rules: Sequence[str], optimizer: str) -> None:
    if not seeds:
        raise MutransferError(
            "seeds is empty: give a number of at least 1, or the seeds themselves"
        )
    if isinstance(rules, str):
        raise MutransferError(f"rules is {rules!r}: give a list, such as [{rules!r}]")
    if not rules:
        raise MutransferError('rules is empty: give at least one, such as "default" or "sp"')
    for name, values in {"seeds": seeds, "rules": rules}.items():
        if len(set(values)) < len(values):
            raise MutransferError(f"{name} has repetitions: {list(values)}")
    for rule in rules:
        parametrization(rule, default=parametrization("mup"))
    if optimizer not in UPDATES:
        raise MutransferError(
            f"unknown optimizer {optimizer!r} for a study; choose one of {', '.join(UPDATES)}"
        )


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
