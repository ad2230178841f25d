"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_GAP = "  "


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Return rows in columns as wide as their widest cells, with two blanks between.

    >>> print(columns([["rule", "alpha"], ["completep", "1"]]))
    rule       alpha
    completep  1
    """
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (_GAP.join(map(str.ljust, row, widths)) for row in table)
    return "\n".join(line.rstrip() for line in lines)
