"""The numbers of a report, as CSV and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from ..certificates import metric_name, optima_rows, summary_rows
from ..core import plain, write_csv
from ..figures import Curve, Section
from ._words import headline, warnings

_TABLES: dict[str, Callable[[Section], Sequence[Mapping[str, Any]]]] = {
    "optima.csv": lambda section: optima_rows(section.transfers.outcomes),
    "summary.csv": lambda section: summary_rows(section.transfers.outcomes),
}


def write_numbers(
    draft: Path,
    sections: Sequence[Section],
    title: str,
    about: Mapping[str, Any],
    curves: Sequence[Curve],
) -> None:
    """Write every number of the report.

    The files are `optima.csv`, `summary.csv`, `runs.csv`, and all of it in `report.json`.
    """
    for name, rows in _TABLES.items():
        titled = [{"section": each.title, **row} for each in sections for row in rows(each)]
        write_csv(draft / name, titled)
    # Sections of several hyperparameters share a record, which is written once.
    write_csv(
        draft / "runs.csv",
        [{"section": each.title, **row} for each in records(sections) for row in each.runs.rows],
    )
    first = {id(section) for section in records(sections)}
    data = {
        "title": title,
        "headline": headline(sections),
        "about": about,
        "sections": [_section_data(each, id(each) in first) for each in sections],
        "curves": [_curve_data(curve) for curve in curves],
    }
    # Without line breaks Python's encoder is five times faster, and curves are many numbers.
    (draft / "report.json").write_text(dumps(plain(data), allow_nan=False), encoding="utf-8")


def records(sections: Sequence[Section]) -> list[Section]:
    """Return the first section of every record."""
    first: dict[int, Section] = {}
    for section in sections:
        first.setdefault(id(section.runs), section)
    return list(first.values())


def _section_data(section: Section, is_first: bool) -> dict[str, Any]:
    """Return a section as data; the first of a record has its runs."""
    return {
        "title": section.title,
        "axis": section.axis,
        "hyperparameter": section.transfers.over,
        "metric": metric_name(section.runs),
        "transfers": list(section.transfers.granted),
        "choices": list(section.transfers.choices),
        "warnings": warnings(section),
        **({"header": section.runs.header, "runs": section.runs.rows} if is_first else {}),
    }


def _curve_data(curve: Curve) -> dict[str, Any]:
    steps, losses = curve.points()
    return {"name": curve.name, "steps": steps, "losses": losses}
