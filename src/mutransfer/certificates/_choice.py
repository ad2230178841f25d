"""The best of several choices at every size, such as the schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from ..core import FrozenDict, MutransferError, Result, Size, number, parsed, parsing, plain
from ..statistics import Array, infinite, student_chance
from ..studies import Runs
from ._advice import advice
from ._grids import grid

_LEVEL = 0.05
"""Probability to tell choices apart at any size of a rule that are equal at all of them."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best choice of one rule at one size.

    Attributes:
        size: The size.
        choice: The choice of lowest mean loss.
        loss: Its mean loss.
        tied: Every choice that is not worse than the best beyond the noise of the seeds.
    """

    size: Size
    choice: str
    loss: float
    tied: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice(Result):
    """The best choice of a hyperparameter that has no scale, at every size.

    Attributes:
        rule: The rule.
        over: The hyperparameter.
        best: The best choice at every size, from small to large.
        at: The size that the choice is for.
        others: The best values of the other hyperparameters, by name.
        warnings: Reasons not to trust it.
    """

    rule: str
    over: str
    best: tuple[Best, ...]
    at: Size
    others: Mapping[str, Any]
    warnings: tuple[str, ...]

    intervals: ClassVar[Mapping[str, tuple[float, float]]] = FrozenDict()
    """Choices have none."""
    regret: ClassVar[None] = None
    """It is not known."""
    refusal: ClassVar[None] = None
    """A choice is no refusal."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", FrozenDict(self.others))

    @property
    def same(self) -> bool:
        """True if one choice is the best, or as good as the best, at every size."""
        return bool(self._everywhere)

    @property
    def value(self) -> str:
        """The choice for every size if there is one, otherwise that of the largest size."""
        largest = self.best[-1].choice
        if not self._everywhere or largest in self._everywhere:
            return largest
        wins = [best.choice for best in self.best]
        return max(sorted(self._everywhere), key=wins.count)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters to use at the target."""
        return {self.over: self.value, **self.others}

    @property
    def advice(self) -> str:
        """The thing to do at the target."""
        return advice(self.at, self.hyperparameters)

    @property
    def summary(self) -> str:
        """The finding, without the choice of each size."""
        if not self.same:
            return f"{self.rule}: the best {self.over} changes with size"
        where = "at every size" if len(self.best) > 1 else f"at {self.best[0].size}"
        wins = all(best.choice == self.value for best in self.best)
        good = "is best" if wins else "is best, or as good within the seeds' noise,"
        return f"{self.rule}: {self.over} {self.value} {good} {where}"

    def __str__(self) -> str:
        each = "; ".join(f"{best.choice} at {best.size}" for best in self.best)
        head = self.summary if self.same else f"{self.summary}: {each}"
        return "\n".join([head, *(f"  warning: {warning}" for warning in self.warnings)])

    @property
    def _everywhere(self) -> set[str]:
        """The choices that are the best, or as good, at every size."""
        return set.intersection(*(set(best.tied) for best in self.best))

    def to_json(self) -> dict[str, Any]:
        """Return the choice as plain data."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        names = ("hyperparameters", "intervals", "regret", "refusal", "same")
        data: dict[str, Any] = plain(own | {name: getattr(self, name) for name in names})
        return data

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
                at=Size(values["at"]),
                others=values["others"],
                warnings=tuple(values["warnings"]),
            )


def choice(runs: Runs, rule: str, over: str, target: Mapping[str, int]) -> Choice:
    """Return the best choice of one rule at every size.

    Raises:
        MutransferError: a size has one choice alone, or all of them diverged.
    """
    found, warnings = [], [*runs.warnings]
    sizes = runs.sizes(rule)
    for size in sizes:
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
        first = int(np.argmin(mean))
        found.append(
            Best(
                size=size,
                choice=str(cells.values[first]),
                loss=float(mean[first]),
                tied=tuple(str(cells.values[i]) for i in _tied(losses, first, len(sizes))),
            )
        )
    if len(cells.seeds) == 1:
        warnings.append("one seed cannot show whether a difference is more than noise")
    aim = found[-1].size.grown(**target)
    return Choice(
        rule=rule, over=over, best=tuple(found), at=aim, others={}, warnings=tuple(warnings)
    )


def _tied(losses: Float[Array, "seeds choices"], first: int, sizes: int) -> list[int]:
    """Return the choices that a paired test does not tell from the best.

    Student's t in randomised blocks, the noise that of all choices together; as many tests as there
    are sizes and other choices share the level (Bonferroni).
    """
    ended = np.isfinite(losses.mean(0))
    known = losses[:, ended]
    seeds, choices = known.shape
    freedom = (seeds - 1) * (choices - 1)
    if not freedom:
        return [int(i) for i in np.flatnonzero(ended)]
    rest = known - known.mean(0) - known.mean(1, keepdims=True) + known.mean()
    error = float(np.sqrt(2 * np.square(rest).sum() / freedom / seeds))
    level = _LEVEL / (sizes * (choices - 1))
    worse = losses.mean(0) - losses[:, first].mean()

    def is_tied(by: float) -> bool:
        ratio = by / error if error else math.inf
        return by == 0 or student_chance(ratio, freedom) / 2 >= level

    return [int(i) for i in np.flatnonzero(ended) if is_tied(float(worse[i]))]


def _best(data: Mapping[str, Any]) -> Best:
    return Best(
        size=Size(data["size"]),
        choice=data["choice"],
        loss=number(data["loss"]),
        tied=tuple(data["tied"]),
    )
