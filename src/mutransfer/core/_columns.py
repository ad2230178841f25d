"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

_GAP = "  "


def columns(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows in columns as wide as their widest cells, with two blanks between.

    >>> print(columns([["rule", "alpha"], ["completep", "1"]], right=[1]))
    rule       alpha
    completep      1

    Args:
        rows: The rows, all of one length; the header is one of them.
        right: Numbers of the columns whose cells stand at their right end.
    """
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        _GAP.join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)
