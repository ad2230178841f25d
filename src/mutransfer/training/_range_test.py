"""The learning-rate range test: one training over growing rates, all ratios kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ..core import MutransferError, Result, csv_text, number, parsed, parsing, plain
from ..pytorch import Plan
from ..tasks import Task, cross_entropy
from ._loop import train_one_by_one
from ._members import Member
from ._recipe import Recipe

_SMOOTHING = 0.9
"""Decay of the moving average of the losses."""

_HOPELESS = 4.0
"""The test ends where the smoothed loss has grown to this many times its lowest value."""


@dataclass(frozen=True, kw_only=True, repr=False)
class RangeTest(Result):
    """The losses of one training whose rate grew from step to step.

    Attributes:
        rates: The rate at base size of every step, growing by one factor.
        losses: The loss of every step, before its update.
        smoothed: Their moving average.
        suggested: The rate at which the smoothed loss fell fastest; None where it never fell.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None

    def rows(self) -> list[dict[str, float]]:
        """Return a row for every step: rate, loss, smoothed."""
        columns = zip(self.rates, self.losses, self.smoothed, strict=True)
        return [{"rate": r, "loss": loss, "smoothed": s} for r, loss, s in columns]

    def to_csv(self) -> str:
        """Return the rows as CSV."""
        return csv_text(self.rows())

    def __str__(self) -> str:
        low, high = math.log2(self.rates[0]), math.log2(self.rates[-1])
        tested = f"rates 2^{low:.1f} to 2^{high:.1f}, lowest smoothed loss {min(self.smoothed):.3g}"
        if self.suggested is None:
            return f"no rate suggested: the loss never fell; {tested}"
        return f"suggested rate 2^{math.log2(self.suggested):.1f}; {tested}"

    def to_json(self) -> dict[str, Any]:
        """Return the test as plain data."""
        data: dict[str, Any] = plain({each.name: getattr(self, each.name) for each in fields(self)})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the test that `to_json` wrote.

        Raises:
            MutransferError: the data is no range test.
        """
        with parsing("a range test written by RangeTest.to_json"):
            values = parsed(data)
            columns = {key: tuple(map(number, values[key])) for key in _COLUMNS}
            suggested = values["suggested"]
            return cls(**columns, suggested=None if suggested is None else number(suggested))


_COLUMNS = ("rates", "losses", "smoothed")


def range_test(
    model: nn.Module,
    plan: Plan,
    data: Task | Iterable[tuple[Any, Tensor]],
    *,
    low: float = 2.0**-20,
    high: float = 2.0**4,
    steps: int = 100,
    batch: int = 64,
    loss: Callable[[Any, Tensor], Tensor] = cross_entropy,
    options: Mapping[str, Any] | None = None,
    weight_decay: float | None = None,
    eps: float | None = None,
    clip: float | None = None,
    seed: int = 0,
) -> RangeTest:
    """Train once at a rate that grows by one factor a step (Smith, 1506.01186).

    All tensors keep the planned ratios of their rates. A copy of the model is trained: the model
    itself, its gradients and torch's generator stay as they are. The test ends early where the loss
    grows to four times its lowest value.

    Args:
        model: The planned model, initialised.
        plan: Its plan.
        data: A task, or batches (inputs, targets), which start again where there are too few;
            inputs that are a mapping are passed as model(**inputs).
        low: The first rate, at base size.
        high: The last rate.
        steps: Number of steps.
        batch: Examples a step of a task.
        loss: The loss of batches, of a model's output and the targets; a task has its own.
        options: The optimizer's options; by family where two share the work.
        weight_decay: Weight decay at base size; torch's default where it is not given.
        eps: The optimizer's eps at base size; torch's default where it is not given.
        clip: Largest norm of the gradients at base size; None for no clipping.
        seed: The seed of a task's batches.

    Raises:
        MutransferError: the rates do not grow, there are no batches, or the model cannot be trained
            by the plan.
    """
    if not 0 < low < high < math.inf:
        raise MutransferError(f"low={low}, high={high}: give two positive rates, low below high")
    ratio = high / low

    def growing(step: int, steps: int) -> float:
        return float(ratio ** (step / max(1, steps - 1)))

    recipe = Recipe(
        task=_source(data, loss, steps),
        steps=steps,
        batch=batch,
        optimizer="+".join(plan.optimizers),
        options=options or {},
        schedule=growing,
        clip=clip,
    )
    table = plan.table(model, low, weight_decay=weight_decay, eps=eps)
    member = Member(model=model, table=table, seed=seed, clip=plan.clip)
    with torch.random.fork_rng(devices=[]):
        losses = train_one_by_one([member], recipe).losses[0]
    return _found([low * factor for factor in recipe.factors()], losses.tolist())


def _found(rates: list[float], losses: list[float]) -> RangeTest:
    """Return the test up to where training became hopeless."""
    smoothed: list[float] = []
    average = 0.0
    for step, value in enumerate(losses):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * value
        mean = average / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(mean) or (smoothed and mean > _HOPELESS * min(smoothed) > 0):
            break
        smoothed.append(mean)
    if not smoothed:
        raise MutransferError(
            f"the loss is {losses[0]} before the first step: the model cannot be trained as it is"
        )
    end = len(smoothed)
    return RangeTest(
        rates=tuple(rates[:end]),
        losses=tuple(losses[:end]),
        smoothed=tuple(smoothed),
        suggested=_steepest(rates, smoothed),
    )


def _steepest(rates: list[float], smoothed: list[float]) -> float | None:
    """Return the rate of the steepest fall before the lowest loss."""
    lowest = int(np.argmin(smoothed))
    if lowest < 1:
        return None
    slopes = np.gradient(np.array(smoothed[: lowest + 1]))
    return rates[int(slopes.argmin())]


@dataclass(frozen=True, eq=False)
class _Held:
    """Batches in memory, as training takes a stream."""

    batches: list[tuple[Any, Tensor]]
    loss: Callable[[Any, Tensor], Tensor]
    name: str = "the batches given"
    validation: None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def feed(self, seed: int, steps: int, batch: int) -> _Held:
        """Return the batches themselves, in the order given."""
        return self

    def __getitem__(self, step: int) -> tuple[Any, Tensor]:
        return self.batches[step % len(self.batches)]


def _source(data: Any, loss: Callable[[Any, Tensor], Tensor], steps: int) -> Any:
    """Return a task or stream as it is, and batches as a stream.

    Raises:
        MutransferError: there are none, or they are no pairs.
    """
    if hasattr(data, "feed"):
        return data
    batches = list(islice(data, steps))
    if not batches or not all(
        isinstance(each, tuple | list) and len(each) == 2 for each in batches
    ):
        raise MutransferError(
            "range_test needs a task or at least one batch (inputs, targets): give pairs of tensors"
        )
    return _Held([(inputs, targets) for inputs, targets in batches], loss)
