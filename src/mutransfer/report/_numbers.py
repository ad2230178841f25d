"""The numbers of a report, as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import write_csv
from ._curves import Curve
from ._section import Section
from ._tables import optima_rows, summary_rows
from ._words import headline, warnings


def write_numbers(
    draft: Path,
    sections: Sequence[Section],
    title: str,
    about: Mapping[str, Any],
    curves: Sequence[Curve],
) -> None:
    """Every number of the report: `optima.csv`, `summary.csv`, `runs.csv`, and all of it in `report.json`."""
    tables: dict[str, Callable[[Section], list[dict[str, Any]]]] = {
        "optima.csv": lambda section: optima_rows(section.transfers),
        "summary.csv": lambda section: summary_rows(section.transfers),
        "runs.csv": lambda section: section.runs.rows,
    }
    for name, rows in tables.items():
        write_csv(
            draft / name,
            [{"section": section.title, **row} for section in sections for row in rows(section)],
        )
    data = {
        "title": title,
        "headline": headline(sections),
        "about": dict(about),
        "sections": [
            {
                "title": section.title,
                "axis": section.axis,
                "transfers": [made.to_json() for made in section.transfers],
                "warnings": warnings(section),
                "header": section.runs.header,
                "runs": section.runs.rows,
            }
            for section in sections
        ],
        "curves": [
            {"name": curve.name, **dict(zip(("steps", "losses"), curve.points(), strict=True))}
            for curve in curves
        ],
    }
    (draft / "report.json").write_text(
        json.dumps(_plain(data), indent=1, allow_nan=False), encoding="utf-8"
    )


def _plain(data: Any) -> Any:
    """Data that JSON can hold: null for what is not finite, text for what it does not know."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | np.ndarray):
        return [_plain(value) for value in data]
    if isinstance(data, float):
        return float(data) if math.isfinite(data) else None
    return data if data is None or isinstance(data, bool | int | str) else str(data)
