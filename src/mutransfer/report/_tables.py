"""What was found, as a table for the terminal and as plain rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from ..certificates import Optimum, Transfer
from ..core import Estimate
from ._section import Section, label, varying


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table as text: a first column of names, then a column for each rule."""

    rules: tuple[str, ...]
    sizes: tuple[tuple[str, ...], ...]
    summary: tuple[tuple[str, ...], ...]


def transfer_table(section: Section) -> Table:
    """The optimum of each size under each rule, and below them how far it moves and what that costs."""
    found = cells(section.transfers)
    grid = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=Text(section.title),
        title_justify="left",
        title_style="bold",
    )
    grid.add_column("log2 of the best rate")
    for rule in found.rules:
        grid.add_column(Text(rule), justify="right")
    for row in found.sizes:
        grid.add_row(*map(Text, row))
    grid.add_section()
    if found.sizes:
        grid.add_row()
    for row in found.summary:
        grid.add_row(*map(Text, row))
    return grid


def cells(transfers: Sequence[Transfer]) -> Cells:
    """The numbers of the table, formatted."""
    sizes = sorted({best.size for made in transfers for best in made.optima})
    axes = varying(sizes)
    rows = []
    for size in sizes:
        optima = [
            next((best for best in made.optima if best.size == size), None) for made in transfers
        ]
        rows.append((label(size, axes), *(_octaves(best) for best in optima)))
    return Cells(
        rules=tuple(made.rule for made in transfers),
        sizes=tuple(rows),
        summary=tuple(_summary(transfers, axes)),
    )


def optima_rows(transfers: Sequence[Transfer]) -> list[dict[str, Any]]:
    """One plain row for every rule and size, with its optimum."""
    return [
        {
            "rule": made.rule,
            "width": best.size.width,
            "depth": best.size.depth,
            "lr": 2.0**best.log2_lr,
            "log2_lr": best.log2_lr,
            "low": best.low,
            "high": best.high,
            "loss": best.loss,
            "diverged": best.diverged,
        }
        for made in transfers
        for best in made.optima
    ]


def summary_rows(transfers: Sequence[Transfer]) -> list[dict[str, Any]]:
    """One plain row for every rule: drift, regret and the rate at its target; None for an infinite regret."""
    rows = []
    for made in transfers:
        row: dict[str, Any] = {"rule": made.rule, "total": made.total}
        estimates = {f"drift_{axis}": drift for axis, drift in made.drift.items()} | {
            "regret": made.regret,
            "log2_lr": made.rate,
        }
        for name, estimate in estimates.items():
            values = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
            row |= {
                name + end: value if math.isfinite(value) else None for end, value in values.items()
            }
        row |= {
            "target_width": made.target.width,
            "target_depth": made.target.depth,
            "diverged": share_diverged(made),
        }
        rows.append(row)
    return rows


def regret(made: Transfer) -> str:
    """The regret, or what became of the runs that it would be read from.

    It is infinite as well where the rate lies beyond the largest size's grid: certainly so if no run diverged there.
    """
    if math.isinf(made.regret.value):
        return "diverges" if made.optima[-1].diverged > 0 else "not run"
    return f"{made.regret.value:.3f} [{made.regret.low:.3f}, {'diverges' if math.isinf(made.regret.high) else f'{made.regret.high:.3f}'}]"


def share_diverged(made: Transfer) -> float:
    """Share of the runs that diverged, over all sizes alike."""
    return math.fsum(best.diverged for best in made.optima) / len(made.optima)


def _summary(transfers: Sequence[Transfer], axes: Sequence[str]) -> list[tuple[str, ...]]:
    if not transfers:
        return []
    rows: list[tuple[str, ...]] = []
    for axis in axes:
        drifts = [made.drift.get(axis) for made in transfers]
        rows.append(
            (
                f"drift per doubling of {axis}",
                *("" if drift is None else str(drift) for drift in drifts),
            )
        )
    rows.append(("drift in all", *(f"{made.total:+.2f}" for made in transfers)))
    rows.append(("regret at the largest size", *map(regret, transfers)))
    for target in dict.fromkeys(
        made.target for made in transfers if made.target != made.optima[-1].size
    ):
        rates = [_rate(made.rate) if made.target == target else "" for made in transfers]
        rows.append((f"predicted for {label(target, axes)}", *rates))
    rows.append(("runs that diverged", *(f"{share_diverged(made):.0%}" for made in transfers)))
    return rows


def _octaves(best: Optimum | None) -> str:
    return "" if best is None else f"{best.log2_lr:.2f} [{best.low:.2f}, {best.high:.2f}]"


def _rate(rate: Estimate) -> str:
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
