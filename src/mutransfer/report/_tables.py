"""Transfers as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from ..certificates import table
from ..figures import Section


def transfer_table(section: Section) -> Table:
    """Return the optimum of each size under each rule, its drift, and what that costs."""
    return table(list(section.transfers.granted), title=section.title)
