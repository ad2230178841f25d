"""Collapse of loss curves across sizes: outcome and evidence for each rule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..core import (
    Drawn,
    Estimate,
    MutransferError,
    Result,
    Size,
    columns,
    number,
    parsed,
    parsing,
    plain,
    save_folder,
)
from ..statistics import clearness

ALIKE = "scales alike"
APART = "does not scale alike"
UNKNOWN = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The clearest gap of one size.

    Attributes:
        size: The size, along the axis.
        octaves: Octaves of training by which it is ahead of what the other sizes foretell.
        progress: Progress at the end of the window of training that has the gap, from 0 to 1.
    """

    size: int
    octaves: Estimate
    progress: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the gap that `plain` wrote."""
        return cls(
            size=int(data["size"]),
            octaves=Estimate.from_json(data["octaves"]),
            progress=number(data["progress"]),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Collapse(Result):
    """Agreement of the loss curves of one rule across sizes, at one rate.

    A gap is how far a size is ahead in training of what the other sizes foretell, in octaves.

    Attributes:
        rule: The rule.
        axis: The axis along which the sizes differ.
        fixed: The other axes.
        sizes: The sizes along the axis, ascending.
        lr: The base rate of all curves; NaN if there is none.
        seeds: Number of runs of each size.
        outcome: "scales alike", "does not scale alike" or "cannot tell".
        reason: What the outcome rests on.
        p_value: Probability of so clear a gap under right scaling; NaN where nothing was compared.
        noise: Octaves by which one run differs from another of its size.
        distance: Root mean square of all gaps, in octaves.
        bound: Octaves that no gap exceeds.
        gaps: The clearest gap of every size but the smallest.
        until: Progress up to which curves were compared, from 0 to 1.
        curves: Losses by size, divided by the typical first loss.
    """

    rule: str
    axis: str
    fixed: Size
    sizes: tuple[int, ...]
    lr: float
    seeds: int
    outcome: str
    reason: str
    p_value: float = math.nan
    noise: float = math.nan
    distance: float = math.nan
    bound: float = math.nan
    gaps: tuple[Gap, ...] = ()
    until: float = math.nan
    curves: tuple[tuple[float, ...], ...] = ()

    @property
    def largest(self) -> Gap | None:
        """The clearest gap of all sizes; None where nothing was compared."""
        if not self.gaps:
            return None
        gaps = [gap.octaves for gap in self.gaps]
        values, halves = np.array([[gap.value, (gap.high - gap.low) / 2] for gap in gaps]).T
        # Half an interval is a multiple of the error. That of curves without noise is 0.
        return self.gaps[int(np.argmax(clearness(values, np.maximum(halves, 1e-12))))]

    @property
    def name(self) -> str:
        """The rule, with the axes that are fixed where there are several lines of sizes."""
        return f"{self.rule} in {self.axis}" + (f" at {self.fixed}" if self.fixed else "")

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome}; {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the outcome with its evidence, as plain data."""
        data: dict[str, Any] = plain(vars(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the collapse that `to_json` wrote.

        Raises:
            MutransferError: the data is no collapse.
        """
        with parsing("a collapse written by Collapse.to_json"):
            values = parsed(data)
            return cls(
                rule=values["rule"],
                axis=values["axis"],
                outcome=values["outcome"],
                reason=values["reason"],
                lr=number(values["lr"]),
                p_value=number(values["p_value"]),
                noise=number(values["noise"]),
                distance=number(values["distance"]),
                bound=number(values["bound"]),
                until=number(values["until"]),
                fixed=Size(values["fixed"]),
                sizes=tuple(map(int, values["sizes"])),
                seeds=int(values["seeds"]),
                gaps=tuple(map(Gap.from_json, values["gaps"])),
                curves=tuple(tuple(map(number, curve)) for curve in values["curves"]),
            )


@dataclass(frozen=True, kw_only=True, repr=False)
class Collapses(Result, Drawn):
    """The collapse of loss curves under every rule of a record.

    Iteration gives the outcomes; `collapses["sp"]` gives the first of one rule.

    Attributes:
        outcomes: An outcome for each rule and each line of sizes along one axis.
    """

    outcomes: tuple[Collapse, ...]

    @property
    def ok(self) -> bool:
        """True if no rule was found not to scale alike."""
        return all(each.outcome != APART for each in self.outcomes)

    @property
    def sure(self) -> bool:
        """True if every outcome is known."""
        return all(each.outcome != UNKNOWN for each in self.outcomes)

    def __iter__(self) -> Iterator[Collapse]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, rule: str | int) -> Collapse:
        if isinstance(rule, int):
            return self.outcomes[rule]
        for outcome in self.outcomes:
            if outcome.rule == rule:
                return outcome
        known = ", ".join(dict.fromkeys(each.rule for each in self.outcomes))
        raise MutransferError(f"there is no rule {rule!r}; there are {known}")

    def __str__(self) -> str:
        head = ["", "rate", "runs a size", "outcome", "p", "clearest gap, octaves", "where"]
        table = [[*head, "one run's own"], *map(_cells, self.outcomes)]
        title = (
            "collapse of loss curves; octaves of training ahead of what the other sizes foretell"
        )
        reasons = [f"{each.name}: {each.reason}" for each in self.outcomes]
        return "\n".join([title, "", columns(table), "", *reasons])

    def save(self, out: str | Path) -> Path:
        """Write text, JSON, CSV and figure into a folder, and return it.

        Raises:
            MutransferError: the folder cannot be written, or matplotlib is missing.
        """
        return save_folder(self, self.rows(), out, name="collapse")

    def rows(self) -> list[dict[str, Any]]:
        """Return a plain row for every rule and size with its clearest gap."""
        return [
            {
                "rule": each.rule,
                **each.fixed,
                each.axis: gap.size,
                "lr": each.lr,
                "outcome": each.outcome,
                "p_value": each.p_value,
                "octaves": gap.octaves.value,
                "low": gap.octaves.low,
                "high": gap.octaves.high,
                "progress": gap.progress,
            }
            for each in self.outcomes
            for gap in each.gaps
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all outcomes as plain data."""
        return {"outcomes": [outcome.to_json() for outcome in self.outcomes]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the outcomes that `to_json` wrote.

        Raises:
            MutransferError: the data is of another kind.
        """
        with parsing("a result written by Collapses.to_json"):
            return cls(outcomes=tuple(map(Collapse.from_json, parsed(data)["outcomes"])))


def _cells(each: Collapse) -> list[str]:
    gap, rate = each.largest, "" if math.isnan(each.lr) else f"2^{math.log2(each.lr):.4g}"
    cells = [each.name, rate, str(each.seeds) if each.seeds else "", each.outcome]
    if gap is None:
        return [*cells, "", "", "", ""]
    where = f"{each.axis} {gap.size}, up to {gap.progress:.0%}"
    p_value = f"{each.p_value:.3f}" if each.p_value >= 0.001 else "<0.001"
    return [*cells, p_value, str(gap.octaves), where, f"{each.noise:.2f}"]
