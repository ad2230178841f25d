"""One study as the report takes it, and the lines of its panels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..core import Size
from ..studies import Runs
from ..certificates import Optimum, Transfer, transfer

Array = np.ndarray[Any, np.dtype[np.float64]]

_AXES = ("width", "depth")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study of a report.

    Attributes:
        title: What it is called, such as "Width".
        runs: Its record.
        transfers: What was found for its rules; rules that are left out are drawn without their optima.
        axis: "width" or "depth": along which the optima are joined and the drift is told.

    Raises:
        MutransferError: the axis is neither, or the record is empty.
    """

    title: str
    runs: Runs
    transfers: Sequence[Transfer]
    axis: str

    def __post_init__(self) -> None:
        if self.axis not in _AXES:
            raise MutransferError(
                f"section {self.title!r} has axis {self.axis!r}: choose width or depth"
            )
        if not self.runs.rows:
            raise MutransferError(
                f"the record of section {self.title!r} is empty: run the sweep first"
            )

    @classmethod
    def of(
        cls, runs: Runs, target: Mapping[str, int] | None = None, *, title: str | None = None
    ) -> Section:
        """The section of a record, by the first axis that it varies.

        Args:
            runs: The record.
            target: Size to predict for, as in `transfer`.
            title: The axis by default.

        Raises:
            MutransferError: the record is empty.
        """
        varied = varying(_sizes(runs))
        axis = varied[0] if varied else "width"
        found = [made for made in _attempts(runs, runs.rules, target) if isinstance(made, Transfer)]
        return cls(
            title=axis.capitalize() if title is None else title,
            runs=runs,
            transfers=found,
            axis=axis,
        )

    def refusals(self, target: Mapping[str, int] | None = None) -> list[str]:
        """Why the rules without a transfer have none, in a sentence each."""
        known = {made.rule for made in self.transfers}
        missing = [rule for rule in self.runs.rules if rule not in known]
        return [made for made in _attempts(self.runs, missing, target) if isinstance(made, str)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """Mean training loss against rate, at one size.

    Attributes:
        size: The size.
        log2_lr: The rates, ascending.
        losses: Infinite where a run diverged, NaN where there is none.
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


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One rule of one study, at one value of the axis that is not drawn: a line for each size.

    Attributes:
        section: Title of its section, the panels of which share their scales.
        at: Which value of the other axis, such as "depth 4"; empty if it has only one.
        rule: The rule.
        axis: The axis along which the lines differ.
        values: All values of the axis in the section, ascending.
        lines: The lines, from small to large.
        transfer: What was found for the rule, if anything was.
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
    """The panels of a transfer figure: for every section a row of rules, or a row for each depth if depth varies beside width."""
    return [panel for section in sections for panel in _panels(section)]


def varying(sizes: Iterable[Size]) -> list[str]:
    """Which of width and depth differ among these sizes."""
    known = list(sizes)
    return [axis for axis in _AXES if len({getattr(size, axis) for size in known}) > 1]


def label(size: Size, axes: Sequence[str]) -> str:
    """A size by its values along these axes.

    >>> label(Size(width=32, depth=4), ["width"]), label(Size(width=32, depth=4), [])
    ('width 32', 'width 32, depth 4')
    """
    return ", ".join(f"{axis} {getattr(size, axis)}" for axis in axes or _AXES)


def _panels(section: Section) -> list[Panel]:
    sizes, across = _sizes(section.runs), _other(section.axis)
    split = across in varying(sizes)
    found = {made.rule: made for made in section.transfers}
    made = []
    for value in sorted({getattr(size, across) for size in sizes}):
        for rule in section.runs.rules:
            lines = [
                _line(section.runs, rule, size, found.get(rule))
                for size in section.runs.sizes(rule)
                if getattr(size, across) == value
            ]
            if lines:
                panel = Panel(
                    section=section.title,
                    at=f"{across} {value}" if split else "",
                    rule=rule,
                    axis=section.axis,
                    values=tuple(sorted({getattr(size, section.axis) for size in sizes})),
                    lines=tuple(lines),
                    transfer=found.get(rule),
                )
                made.append(panel)
    return made


def _other(axis: str) -> str:
    """Depth for width and the reverse."""
    return _AXES[1 - _AXES.index(axis)]


def _sizes(runs: Runs) -> list[Size]:
    return [size for rule in runs.rules for size in runs.sizes(rule)]


def _line(runs: Runs, rule: str, size: Size, found: Transfer | None) -> Line:
    rates, losses = _table(runs, rule, size)
    best = next((best for best in found.optima if best.size == size), None) if found else None
    return Line(size=size, log2_lr=rates, losses=losses, optimum=best)


def _table(
    runs: Runs, rule: str, size: Size
) -> tuple[Float[Array, " rates"], Float[Array, "seeds rates"]]:
    """Log2 of the rates and the losses, as `Runs.losses`, but with NaN for what is not in the record."""
    rows = [
        row
        for row in runs.rows
        if (row["rule"], row["width"], row["depth"]) == (rule, size.width, size.depth)
    ]
    rates, seeds = sorted({row["lr"] for row in rows}), sorted({row["seed"] for row in rows})
    losses = np.full((len(seeds), len(rates)), np.nan)
    for row in rows:
        loss = row["loss"]
        losses[seeds.index(row["seed"]), rates.index(row["lr"])] = (
            loss if loss is not None and math.isfinite(loss) else math.inf
        )
    return np.log2(np.array(rates, dtype=np.float64)), losses


def _attempts(
    runs: Runs, rules: Iterable[str], target: Mapping[str, int] | None = None
) -> list[Transfer | str]:
    """For each rule on its own, its transfer, or the sentence that refuses it."""
    made: list[Transfer | str] = []
    for rule in rules:
        try:
            made += transfer(runs.only(rule), target)
        except MutransferError as error:
            made.append(str(error))
    return made
