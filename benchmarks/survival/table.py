"""The table of what survived, for the terminal and for docs/clusters.md."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
BEGIN = "<!-- made by benchmarks.survival.run: begin -->"
END = "<!-- made by benchmarks.survival.run: end -->"

HEADS = (
    "what is done",
    "engine",
    "times",
    "sweeps",
    "runs finished then",
    "runs finished in the end",
    "lost",
    "repeated",
    "other rows",
)


def cells(result: Mapping[str, Any]) -> list[str]:
    """Return the row of a case."""
    if "left out" in result:
        return [result["done"], result["engine"], f"left out: {result['left out']}", *[""] * 6]
    low, high = result["before"]
    return [
        result["done"],
        result["engine"],
        str(result["times"]),
        str(result["sweeps"]),
        f"{low} to {high}",
        f"{result['after']} of {result['runs']}",
        *(str(result[name]) for name in ("lost", "repeated", "differ")),
    ]


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return all rows in columns."""
    rows = [list(HEADS), *map(cells, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(map(str.ljust, row, widths)) + " |"


def faults(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return everything that must not be."""
    return [
        f"{result['name']}: {fault}" for result in results for fault in result.get("faults", ())
    ]


def section(record: Mapping[str, Any]) -> str:
    """Return the part of the page that is made from a record of figures."""
    about, results = record["about"], record["cases"]
    measured = [result for result in results if "left out" not in result]
    times = sum(result["times"] for result in measured)
    minutes = sum(result["seconds"] for result in measured) / 60
    along = sum(result["along"] for result in measured)
    exact = sum(result["exact"] for result in measured)
    runs = sum(result["runs"] for result in measured)
    text = (
        f"Measured {about['date'][:10]} on {about['device']}, torch {about['torch']}: {times} "
        f"disturbances in {minutes:.0f} minutes. Of {runs} runs {exact} have the same row to the "
        f"last bit as in a sweep that was left alone, times apart; {along} were trained along once "
        "more, as they share a program with a run whose row was destroyed."
    )
    return "\n".join([textwrap.fill(text, 98), "", table(results)])


def write(record: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the section between its marks in the page."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{section(record)}\n\n{END}{tail}", encoding="utf-8")
