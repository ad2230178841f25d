"""The panels of a transfer figure, one for every rule and hyperparameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

from ..certificates import (
    Choice,
    Optimum,
    Refusal,
    Transfer,
    Transfers,
    metric_name,
    placed,
    positions,
    scale_along,
)
from ..core import MutransferError, Size
from ..statistics import Array
from ..studies import Runs

MOST_ROWS = 6
"""Rows of one section; where other axes have more values, all sizes share a panel."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study of a figure or a report.

    Attributes:
        title: Its name, such as "Width".
        transfers: The outcomes of its rules; refused ones are drawn with the optima they have.
        axis: The axis along which the optima are joined, such as "width".

    Raises:
        MutransferError: the record is empty, or its sizes have no such axis.
    """

    title: str
    transfers: Transfers
    axis: str

    def __post_init__(self) -> None:
        if not self.runs.rows:
            raise MutransferError(
                f"the record of section {self.title!r} is empty: run the sweep first"
            )
        axes = dict.fromkeys(axis for size in self.transfers.sizes for axis in size)
        if self.axis not in axes:
            raise MutransferError(
                f"section {self.title!r} has axis {self.axis!r}: choose {' or '.join(axes)}"
            )

    @classmethod
    def of(cls, transfers: Transfers, *, title: str | None = None, axis: str | None = None) -> Self:
        """Return the section of a record, by the first axis that it varies.

        Args:
            transfers: The outcomes of its rules, as `mutransfer.transfer` returns them.
            title: The axis by default, or the hyperparameter if it is not the learning rate.
            axis: Another axis.

        Raises:
            MutransferError: the record is empty, or its sizes have no such axis.
        """
        all_axes = (axis for size in transfers.sizes for axis in size)
        chosen = axis or next(iter([*transfers.axes, *all_axes]), "")
        default = chosen.capitalize() if transfers.over == "lr" else transfers.over
        name = default if title is None else title
        return cls(title=name, transfers=transfers, axis=chosen)

    @property
    def runs(self) -> Runs:
        """The record."""
        return self.transfers.runs

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The reasons why rules have no transfer."""
        return self.transfers.refusals


def sections(transfers: Transfers) -> list[Section]:
    """Return the section of each hyperparameter that was swept.

    Raises:
        MutransferError: the record is empty.
    """
    return [Section.of(each) for each in (transfers, *transfers.others)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """Mean loss against one hyperparameter, at one size.

    Attributes:
        size: The size.
        places: Places of its values on their scale, such as log2 of rates, ascending.
        losses: Infinite where a run diverged, NaN where a run is missing.
        optimum: The best value, if known.
    """

    size: Size
    places: Float[Array, " values"]
    losses: Float[Array, "seeds values"]
    optimum: Optimum | None

    @property
    def mean(self) -> Float[Array, " values"]:
        """Mean over the seeds that were run; infinite where one of them diverged."""
        ran = ~np.isnan(self.losses)
        total, count = np.where(ran, self.losses, 0.0).sum(0), ran.sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def diverged(self) -> Float[Array, " values"]:
        """Share of the seeds that diverged."""
        count = np.maximum((~np.isnan(self.losses)).sum(0), 1)
        return np.asarray(np.isinf(self.losses).sum(0) / count)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One rule of one study, a line for each size along one axis.

    Attributes:
        section: Title of its section, whose panels share their scales.
        at: The values of the axes that are not drawn, such as "depth 4"; empty if they do not vary.
        rule: The rule.
        axis: The axis along which the lines differ.
        values: All values of the axis in the section, ascending.
        lines: The lines, from small to large.
        outcome: What was found for the rule, if it was not refused.
        over: The hyperparameter.
        scale: Its scale.
        choices: Its values, where they have no scale.
        metric: Name of the loss.
        crowded: True if sizes share the panel that differ along other axes as well.
    """

    section: str
    at: str
    rule: str
    axis: str
    values: tuple[int, ...]
    lines: tuple[Line, ...]
    outcome: Transfer | Choice | None
    over: str
    scale: str
    choices: tuple[str, ...]
    metric: str
    crowded: bool

    @property
    def row(self) -> str:
        """Its row of the figure."""
        return f"{self.section}, {self.at}" if self.at else self.section


def panels(sections: Sequence[Section]) -> list[Panel]:
    """Return the panels of a transfer figure.

    A section is a row with a panel for each rule. Where other axes vary as well, there is a row for
    each of their values, unless they are many.
    """
    return [panel for section in sections for panel in _panels(section)]


def _panels(section: Section) -> Iterator[Panel]:
    runs, sizes, axis = section.runs, section.transfers.sizes, section.axis
    over = section.transfers.over
    others = [other for other in section.transfers.axes if other != axis]
    crowded = len({tuple(size[other] for other in others) for size in sizes}) > MOST_ROWS
    if crowded:
        others = []
    kind = scale_along(runs, over)
    choices = _choices(runs, over) if kind == "choice" else ()
    outcomes = {each.rule: each for each in section.transfers.outcomes}
    for values in sorted({tuple(size[other] for other in others) for size in sizes}):
        for rule in runs.rules:
            outcome = outcomes.get(rule)
            known = None if isinstance(outcome, Refusal) else outcome
            lines = [
                _line(runs, rule, size, over, kind, choices, outcome)
                for size in runs.sizes(rule)
                # A size where every run failed has no losses.
                if tuple(size[other] for other in others) == values and runs.seeds(rule, size)
            ]
            if lines:
                yield Panel(
                    section=section.title,
                    at=Size(zip(others, values, strict=True)).along(others) if others else "",
                    rule=rule,
                    axis=axis,
                    values=tuple(sorted({size[axis] for size in sizes})),
                    lines=tuple(lines),
                    outcome=known,
                    over=over,
                    scale=kind,
                    choices=choices,
                    metric=metric_name(runs),
                    crowded=crowded,
                )


def _choices(runs: Runs, over: str) -> tuple[str, ...]:
    return tuple(sorted({str(row[over]) for row in runs.rows if row.get(over) is not None}))


def _line(
    runs: Runs,
    rule: str,
    size: Size,
    over: str,
    kind: str,
    choices: Sequence[str],
    outcome: Transfer | Choice | Refusal | None,
) -> Line:
    values, _, losses = runs.grid(rule, size, over)
    if kind == "choice":
        places = np.array([choices.index(str(value)) for value in values], dtype=np.float64)
        return Line(
            size=size, places=places, losses=losses, optimum=_chosen(outcome, size, choices)
        )
    optima = outcome.optima if isinstance(outcome, Transfer | Refusal) else ()
    best = next((best for best in optima if best.size == size), None)
    values, losses = placed(values, losses, kind)
    return Line(size=size, places=positions(values, kind), losses=losses, optimum=best)


def _chosen(
    outcome: Transfer | Choice | Refusal | None, size: Size, choices: Sequence[str]
) -> Optimum | None:
    """Return the best choice as a place among the choices."""
    if not isinstance(outcome, Choice):
        return None
    for best in outcome.best:
        if best.size == size:
            place = float(choices.index(best.choice))
            return Optimum(
                size=size,
                position=place,
                low=place,
                high=place,
                loss=best.loss,
                diverged=0.0,
                scale="choice",
            )
    return None
