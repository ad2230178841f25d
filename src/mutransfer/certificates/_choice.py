"""The best of several choices at every size, such as the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from ..core import FrozenDict, MutransferError, Result, Size, number, parsed, parsing, plain
from ..statistics import infinite, resamples
from ..studies import Runs
from ._advice import advice
from ._grids import grid


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best choice of one rule at one size.

    Attributes:
        size: The size.
        choice: The choice of lowest mean loss.
        loss: Its mean loss.
        second: The next best choice.
        margin: Loss of the second less that of the first.
        sure: Share of bootstrap samples over seeds that have the same first; one seed says 1.
    """

    size: Size
    choice: str
    loss: float
    second: str
    margin: float
    sure: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(Result):
    """The best choice of a hyperparameter that has no scale, at every size.

    Attributes:
        rule: The rule.
        over: The hyperparameter.
        best: The best choice at every size, from small to large.
        target: The size that the choice is for.
        others: The best values of the other hyperparameters, by name.
        warnings: Reasons not to trust it.
    """

    rule: str
    over: str
    best: tuple[Best, ...]
    target: Size
    others: Mapping[str, Any]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", FrozenDict(self.others))

    @property
    def same(self) -> bool:
        """True if every size has the same best choice."""
        return len({best.choice for best in self.best}) == 1

    @property
    def value(self) -> str:
        """The best choice at the largest size."""
        return self.best[-1].choice

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters to use at the target."""
        return {self.over: self.value, **self.others}

    @property
    def advice(self) -> str:
        """What to do at the target."""
        return advice(self.target, self.hyperparameters)

    def __str__(self) -> str:
        if self.same:
            where = "at every size" if len(self.best) > 1 else f"at {self.best[0].size}"
            head = f"{self.rule}: {self.over} {self.value} is best {where}"
        else:
            each = "; ".join(f"{best.choice} at {best.size}" for best in self.best)
            head = f"{self.rule}: the best {self.over} changes with size: {each}"
        return "\n".join([head, *(f"  warning: {warning}" for warning in self.warnings)])

    def to_json(self) -> dict[str, Any]:
        """Return the choice as plain data."""
        data: dict[str, Any] = plain({each.name: getattr(self, each.name) for each in fields(self)})
        return data | {"same": self.same}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the choice that `to_json` wrote.

        Raises:
            MutransferError: the data is no choice.
        """
        with parsing("a choice written by Choice.to_json"):
            values = parsed(data)
            return cls(
                rule=values["rule"],
                over=values["over"],
                best=tuple(map(_best, values["best"])),
                target=Size(values["target"]),
                others=values["others"],
                warnings=tuple(values["warnings"]),
            )


def choice(runs: Runs, rule: str, over: str, target: Mapping[str, int]) -> Choice:
    """Return the best choice of one rule at every size.

    Raises:
        MutransferError: a size has one choice alone, or all of them diverged.
    """
    found, warnings = [], []
    for size in runs.sizes(rule):
        cells = grid(runs, rule, size, over)
        losses = infinite(cells.losses)
        warnings += [cells.note] if cells.note else []
        if len(cells.values) < 2:
            raise MutransferError(
                f"rule {rule!r} at {size} was run with one {over} alone, {cells.values[0]}: give "
                "two or more to choose from"
            )
        mean = losses.mean(0)
        if not np.isfinite(mean).any():
            raise MutransferError(f"rule {rule!r} at {size}: every {over} diverged")
        first, second, *_ = np.argsort(mean, kind="stable")
        samples = losses[resamples(len(losses))].mean(1)
        found.append(
            Best(
                size=size,
                choice=str(cells.values[first]),
                loss=float(mean[first]),
                second=str(cells.values[second]),
                margin=float(mean[second] - mean[first]),
                sure=float((samples.argmin(1) == first).mean()),
            )
        )
    if unsure := [best for best in found if best.sure < 0.95]:
        sizes = "; ".join(str(best.size) for best in unsure)
        warnings.append(f"the seeds disagree on the best {over} at {sizes}")
    aim = found[-1].size.grown(**target)
    return Choice(
        rule=rule, over=over, best=tuple(found), target=aim, others={}, warnings=tuple(warnings)
    )


def _best(data: Mapping[str, Any]) -> Best:
    return Best(
        size=Size(data["size"]),
        choice=data["choice"],
        loss=number(data["loss"]),
        second=data["second"],
        margin=number(data["margin"]),
        sure=number(data["sure"]),
    )
