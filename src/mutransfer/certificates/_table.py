"""Transfers as a table: the optimum of each size, and what its drift costs."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core import in_octaves, varying
from ._optimum import Optimum
from ._scales import cell_text, decimal, distance_text, loss_text
from ._transfer import Transfer

_WIDEST = 220
_SMALL = 0.01
"""Regrets below this are lost in three decimals."""
_MOST_SIZES = 24
"""Sizes that a table lists; CSV and JSON have all."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table as text: a first column of names, then a column for each rule.

    Attributes:
        heading: What the cells of a size hold.
        rules: The rules.
        sizes: A row for each size, with the optimum under each rule.
        summary: Rows of drift, regret, predictions and diverged runs.
    """

    heading: str
    rules: tuple[str, ...]
    sizes: tuple[tuple[str, ...], ...]
    summary: tuple[tuple[str, ...], ...]


def table(transfers: Sequence[Transfer], title: str = "") -> Table:
    """Return the optimum of each size under each rule, its drift, and what that costs.

    Args:
        transfers: The transfers, a column each.
        title: Title of the table.
    """
    contents = cells(transfers)
    grid = Table(box=None, pad_edge=False, header_style="bold", title_style="bold")
    if title:
        grid.title, grid.title_justify = Text(title), "left"
    grid.add_column(contents.heading)
    for rule in contents.rules:
        grid.add_column(Text(rule), justify="right", no_wrap=True)
    for row in contents.sizes:
        grid.add_row(*map(Text, row))
    grid.add_section()
    if contents.sizes:
        grid.add_row()
    for row in contents.summary:
        grid.add_row(*map(Text, row))
    return grid


def rendered(grid: Table) -> str:
    """Return a table as text, whatever the terminal."""
    text = io.StringIO()
    Console(file=text, width=_WIDEST, color_system=None, force_jupyter=False).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def cells(transfers: Sequence[Transfer]) -> Cells:
    """Return the numbers of the table, formatted."""
    sizes = sorted({best.size for transfer in transfers for best in transfer.optima})
    axes = varying(sizes)
    rows = []
    for size in sizes:
        optima = [
            next((o for o in transfer.optima if o.size == size), None) for transfer in transfers
        ]
        rows.append((size.along(axes), *map(_octaves, optima)))
    if (more := len(rows) - _MOST_SIZES) > 0:
        rows = [(f"{more} smaller sizes", *("" for _ in transfers)), *rows[more:]]
    return Cells(
        heading=_heading(transfers),
        rules=tuple(transfer.rule for transfer in transfers),
        sizes=tuple(rows),
        summary=tuple(_summary(transfers, axes)),
    )


def _heading(transfers: Sequence[Transfer]) -> str:
    """Return what the cells of a size hold."""
    over, scale = (transfers[0].over, transfers[0].scale) if transfers else ("lr", "log2")
    name = "rate" if over == "lr" else over
    return f"log2 of the best {name}" if scale == "log2" else f"the best {name}"


def regret_text(transfer: Transfer) -> str:
    """Return what the smallest size's optimum costs at the largest, if there are two.

    It is "diverges" or "not run" where it is infinite.

    A regret is also infinite where the rate lies beyond the largest size's grid. That is certain
    only if no run diverged there.
    """
    if (regret := transfer.carried) is None:
        return ""
    if math.isinf(regret.value):
        return "diverges" if transfer.optima[-1].diverged > 0 else "not run"
    if regret.high < _SMALL:
        return loss_text(regret)
    high = "diverges" if math.isinf(regret.high) else f"{regret.high:.3f}"
    return f"{regret.value:.3f} [{regret.low:.3f}, {high}]"


def _summary(transfers: Sequence[Transfer], axes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows below the optima."""
    if not transfers:
        return []
    rows: list[tuple[str, ...]] = []
    for axis in axes:
        drifts = [(transfer.drift.get(axis), transfer.scale) for transfer in transfers]
        texts = ("" if drift is None else distance_text(drift, scale) for drift, scale in drifts)
        rows.append((f"drift per doubling of {axis}", *texts))
        rows.append(("  within 0.1", *(t.verdicts.get(axis, "") for t in transfers)))
    digits = ".2f" if in_octaves(transfers[0].scale) else ".2g"
    rows.append(("drift in all", *(f"{transfer.total:+{digits}}" for transfer in transfers)))
    rows.append(("regret at the largest size", *map(regret_text, transfers)))
    extrapolated = [t for t in transfers if t.at != t.optima[-1].size]
    for at in dict.fromkeys(transfer.at for transfer in extrapolated):
        places = [_predicted(t) if t.at == at else "" for t in transfers]
        rows.append((f"predicted for {at.along(axes)}", *places))
    for at in dict.fromkeys(transfer.at for transfer in transfers):
        uses = [_use(t) if t.at == at else "" for t in transfers]
        rows.append((f"to use at {at.along(axes)}", *uses))
        regrets = [loss_text(t.regret) if t.at == at else "" for t in transfers]
        rows.append((f"regret expected at {at.along(axes)}", *regrets))
    rows.append(("runs that diverged", *(f"{transfer.diverged:.0%}" for transfer in transfers)))
    return rows


def _octaves(best: Optimum | None) -> str:
    return "" if best is None else cell_text(best.position, best.low, best.high, best.scale)


def _use(transfer: Transfer) -> str:
    return f"{transfer.over}={decimal(transfer.place.value, transfer.scale)}"


def _predicted(transfer: Transfer) -> str:
    place = transfer.place
    return cell_text(place.value, place.low, place.high, transfer.scale)
