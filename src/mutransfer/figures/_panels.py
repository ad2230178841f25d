"""The panels of a transfer figure: losses by rate, for every rule and size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

from ..certificates import Optimum, Refusal, Transfer, Transfers
from ..core import MutransferError, Size
from ..statistics import Array
from ..studies import Runs, loss_of


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study of a figure or a report.

    Attributes:
        title: Its name, such as "Width".
        transfers: The outcomes of its rules; refused rules are drawn without their optima.
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
            title: The axis by default.
            axis: Another axis.

        Raises:
            MutransferError: the record is empty, or its sizes have no such axis.
        """
        all_axes = (axis for size in transfers.sizes for axis in size)
        chosen = axis or next(iter([*transfers.axes, *all_axes]), "")
        name = chosen.capitalize() if title is None else title
        return cls(title=name, transfers=transfers, axis=chosen)

    @property
    def runs(self) -> Runs:
        """The record."""
        return self.transfers.runs

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The reasons why rules have no transfer."""
        return self.transfers.refusals


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """Mean training loss against rate, at one size.

    Attributes:
        size: The size.
        log2_lr: The rates, ascending.
        losses: Infinite where a run diverged, NaN where a run is missing.
        optimum: The best rate, if known.
    """

    size: Size
    log2_lr: Float[Array, " rates"]
    losses: Float[Array, "seeds rates"]
    optimum: Optimum | None

    @property
    def mean(self) -> Float[Array, " rates"]:
        """Mean over the seeds that were run; infinite where one of them diverged."""
        ran = ~np.isnan(self.losses)
        total, count = np.where(ran, self.losses, 0.0).sum(0), ran.sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def diverged(self) -> Float[Array, " rates"]:
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
        transfer: The transfer of the rule, if it has one.
    """

    section: str
    at: str
    rule: str
    axis: str
    values: tuple[int, ...]
    lines: tuple[Line, ...]
    transfer: Transfer | None

    @property
    def row(self) -> str:
        """Its row of the figure."""
        return f"{self.section}, {self.at}" if self.at else self.section


def panels(sections: Sequence[Section]) -> list[Panel]:
    """Return the panels of a transfer figure.

    A section is a row with a panel for each rule. Where other axes vary as well, there is a row for
    each of their values.
    """
    return [panel for section in sections for panel in _panels(section)]


def _panels(section: Section) -> Iterator[Panel]:
    runs, sizes, axis = section.runs, section.transfers.sizes, section.axis
    others = [other for other in section.transfers.axes if other != axis]
    transfers = {transfer.rule: transfer for transfer in section.transfers}
    for values in sorted({tuple(size[other] for other in others) for size in sizes}):
        for rule in runs.rules:
            lines = [
                _line(runs, rule, size, transfers.get(rule))
                for size in runs.sizes(rule)
                if tuple(size[other] for other in others) == values
            ]
            if lines:
                pairs = zip(others, values, strict=True)
                yield Panel(
                    section=section.title,
                    at=", ".join(f"{other} {value}" for other, value in pairs),
                    rule=rule,
                    axis=axis,
                    values=tuple(sorted({size[axis] for size in sizes})),
                    lines=tuple(lines),
                    transfer=transfers.get(rule),
                )


def _line(runs: Runs, rule: str, size: Size, transfer: Transfer | None) -> Line:
    rates, losses = _table(runs, rule, size)
    optima = transfer.optima if transfer else ()
    best = next((best for best in optima if best.size == size), None)
    return Line(size=size, log2_lr=rates, losses=losses, optimum=best)


def _table(
    runs: Runs, rule: str, size: Size
) -> tuple[Float[Array, " rates"], Float[Array, "seeds rates"]]:
    """Return log2 of the rates, and the losses with NaN for runs that are missing."""
    rows = [
        row
        for row in runs.rows
        if row["rule"] == rule and all(row[axis] == value for axis, value in size.items())
    ]
    rates, seeds = sorted({row["lr"] for row in rows}), sorted({row["seed"] for row in rows})
    losses = np.full((len(seeds), len(rates)), np.nan)
    for row in rows:
        losses[seeds.index(row["seed"]), rates.index(row["lr"])] = loss_of(row)
    return np.log2(np.array(rates, dtype=np.float64)), losses
