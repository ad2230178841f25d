"""Rows as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, one column for each plain value; lists are left to JSON."""
    columns = dict.fromkeys(
        key for row in rows for key, value in row.items() if not isinstance(value, list | dict)
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue() if rows else ""


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; without rows the file is empty."""
    path.write_text(csv_text(rows), encoding="utf-8", newline="")
