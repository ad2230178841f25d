"""Transfers as a table for the terminal, and as plain rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from ..certificates import Transfer, table
from ..core import plain
from ..figures import Section


def transfer_table(section: Section) -> Table:
    """Return the optimum of each size under each rule, its drift, and what that costs."""
    return table(list(section.transfers), title=section.title)


def optima_rows(transfers: Iterable[Transfer]) -> list[dict[str, Any]]:
    """Return a plain row with the optimum of every rule and size."""
    return [
        {
            "rule": transfer.rule,
            **best.size,
            "lr": 2.0**best.log2_lr,
            "log2_lr": best.log2_lr,
            "low": best.low,
            "high": best.high,
            "loss": best.loss,
            "diverged": best.diverged,
        }
        for transfer in transfers
        for best in transfer.optima
    ]


def summary_rows(transfers: Iterable[Transfer]) -> list[dict[str, Any]]:
    """Return a plain row of every rule; what is infinite is "inf", as in JSON."""
    rows = []
    for transfer in transfers:
        row: dict[str, Any] = {"rule": transfer.rule, "total": transfer.total}
        drifts = {f"drift_{axis}": drift for axis, drift in transfer.drift.items()}
        estimates = drifts | {"regret": transfer.regret, "log2_lr": transfer.rate}
        for name, estimate in estimates.items():
            ends = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
            row |= {name + end: plain(value) for end, value in ends.items()}
        row |= {f"target_{axis}": value for axis, value in transfer.target.items()}
        rows.append(row | {"diverged": transfer.diverged})
    return rows
