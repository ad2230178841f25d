"""The part of docs/architectures.md that is made from the outcomes."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .check import Checked, Outcome
from .entry import Entry

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
BEGIN = "<!-- made by make architectures: begin -->"
END = "<!-- made by make architectures: end -->"
PACKAGES = {
    "transformers": "Hugging Face transformers",
    "timm": "timm",
    "diffusers": "diffusers",
    "torch_geometric": "PyTorch Geometric",
    "x_transformers": "x-transformers",
    "vit_pytorch": "vit-pytorch",
    "torch": "written by hand",
}
WORDS = {
    Outcome.RIGHT: "yes",
    Outcome.HINT: "yes, with a hint",
    Outcome.REFUSED: "refused",
    Outcome.WRONG: "wrong",
    Outcome.DAMAGED: "damaged",
}


def write(entries: Sequence[Entry], results: Sequence[Checked], record: Mapping[str, Any]) -> None:
    """Put the table of outcomes between the marks in docs/architectures.md."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = section(entries, results, record)
    PAGE.write_text(f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}", encoding="utf-8")


def section(entries: Sequence[Entry], results: Sequence[Checked], record: Mapping[str, Any]) -> str:
    """Return the counts and the table."""
    outcomes = {(each.package, each.entry, each.axis): each for each in results}
    shown = [each for each in entries if any((*key(each), axis) in outcomes for axis in each.axes)]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        textwrap.fill(f"{len(shown)} architectures, {record['date'][:10]}, with {versions}.", 98),
        "",
        "| growth | yes | with a hint | no rule is known | refused | wrong | damaged |",
        "| ------ | --- | ----------- | ---------------- | ------- | ----- | ------- |",
        *(counts(axis, results) for axis in ("width", "depth", "both")),
        "",
        "| architecture | package | what is special | width | depth | both | training equal |",
        "| ------------ | ------- | --------------- | ----- | ----- | ---- | -------------- |",
        *(row(each, outcomes) for each in shown),
    ]
    return "\n".join(lines)


def key(entry: Entry) -> tuple[str, str]:
    """Return what names an entry."""
    return entry.package, entry.name


def counts(axis: str, results: Sequence[Checked]) -> str:
    """Return the row of counts for one kind of growth."""
    found = Counter(each.outcome for each in results if each.axis == axis)
    order = (Outcome.RIGHT, Outcome.HINT, Outcome.NO_RULE)
    order += (Outcome.REFUSED, Outcome.WRONG, Outcome.DAMAGED)
    return f"| {axis} | {' | '.join(str(found[outcome]) for outcome in order)} |"


def row(entry: Entry, outcomes: Mapping[tuple[str, str, str], Checked]) -> str:
    """Return the row of one architecture."""
    cells = (word(entry, outcomes.get((*key(entry), axis))) for axis in ("width", "depth", "both"))
    proof = "yes" if entry.proved else ""
    columns = entry.name, PACKAGES[entry.package], entry.special, *cells, proof
    return f"| {' | '.join(columns)} |"


def word(entry: Entry, result: Checked | None) -> str:
    """Return the cell of one outcome."""
    if result is None:
        return ""
    if result.outcome == Outcome.NO_RULE:
        return f"no rule is known: {entry.refusal(result.axis)}"
    if result.outcome == Outcome.HINT:
        return f"{WORDS[result.outcome]}: {', '.join(f'`{name}=`' for name in result.hint)}"
    return WORDS[result.outcome]
