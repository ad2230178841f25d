"""Committed tables: JSON with versions and command, and the same as Markdown."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer.core import about, text

Row = Mapping[str, Any]


def write(name: str, rows: Sequence[Row], note: str, folder: Path | None = None) -> None:
    """Write the rows as NAME.json and NAME.md, and print the table."""
    folder = folder or Path(__file__).parent
    origin = about() | {"numpy": np.__version__, "machine": platform.machine()}
    (folder / f"{name}.json").write_text(text({"about": origin, "rows": list(rows)}) + "\n")
    table = markdown(rows)
    versions = f"{origin['date'][:10]}, numpy {np.__version__}, Python {platform.python_version()}"
    (folder / f"{name}.md").write_text(f"{note}\n\n{versions}:\n\n{table}\n", encoding="utf-8")
    print(table)


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a table, numbers with at most three digits."""
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table that was written."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
