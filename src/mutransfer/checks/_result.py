"""The result of a coordinate check: verdict, findings, slopes, every number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..core import MutransferError
from ._measure import Row
from ._slopes import Slope
from ._verdict import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """Whether features move by the same amount at every size.

    Attributes:
        rule: The rule that was checked.
        why: Why this one.
        axes: The sizes in each axis.
        seeds: How many networks of each size.
        steps: How many steps they were trained.
        verdict: "pass", "fail" or "undecided".
        findings: What is wrong, by tensor, with the likely cause.
        notes: What was skipped or not seen, and what to do about it.
        slopes: The slope of every quantity, with what is expected.
        rows: Every measured number; those of the control have the rule "sp".
        spots: Where each module stands, by the pattern of its name.
    """

    rule: str
    why: str
    axes: Mapping[str, tuple[int, ...]]
    seeds: int
    steps: int
    verdict: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    slopes: tuple[Slope, ...]
    rows: tuple[Row, ...]
    spots: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.verdict == "pass"

    def raise_if_wrong(self) -> None:
        """Do nothing if the check passes.

        Raises:
            MutransferError: with the verdict, all findings and notes.
        """
        if not self.ok:
            raise MutransferError("\n".join(self._head()))

    def slope(
        self, name: str, quantity: str, axis: str = "width", step: int | None = None
    ) -> Slope:
        """One slope: of a module, tensor or "*" (attention) by the pattern of its name; after the last step where none is given.

        Raises:
            MutransferError: nothing of the kind was measured.
        """
        found = [
            each
            for each in self.slopes
            if (each.name, each.quantity, each.axis) == (name, quantity, axis)
        ]
        found = [each for each in found if step is None or each.step == step]
        if not found:
            raise MutransferError(
                f"no {quantity} of {name!r} in {axis} was measured; there are {sorted({each.name for each in self.slopes})}"
            )
        return max(found, key=lambda each: each.step)

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", self._table()])

    def _head(self) -> list[str]:
        sizes = ", ".join(
            f"{axis} {values[0]} to {values[-1]}" for axis, values in self.axes.items()
        )
        head = f"coordinate check of {self.rule} ({self.why}): {self.verdict.upper()}"
        about = f"{sizes}; {self.steps} steps, {self.seeds} seeds; exponents of the last step with 95% intervals"
        return [
            head,
            about,
            *(f"  wrong: {each}" for each in self.findings),
            *(f"  note: {each}" for each in self.notes),
        ]

    def _table(self) -> str:
        grid = Table(box=None, pad_edge=False, header_style="bold")
        columns = [("size", 0), ("change", self.steps), ("own", self.steps)]
        grid.add_column("module", no_wrap=True)
        grid.add_column("", no_wrap=True)
        for axis in self.axes:
            for quantity, step in columns:
                title = (
                    "at start" if step == 0 else quantity if quantity == "change" else "own part"
                )
                grid.add_column(f"{axis}: {title}", justify="right", no_wrap=True)
        known = {
            (each.axis, each.name, each.quantity, each.step): each
            for each in self.slopes
            if each.kind == "module"
        }
        logits = {
            each.axis: each
            for each in self.slopes
            if each.quantity == "change of logits" and each.step == self.steps
        }
        for name in dict.fromkeys(each.name for each in self.slopes if each.kind == "module"):
            cells = [
                _cell(known.get((axis, name, quantity, step)))
                for axis in self.axes
                for quantity, step in columns
            ]
            if any(cells):
                grid.add_row(name or "(output)", self.spots.get(name.partition("#")[0], ""), *cells)
        if logits:
            grid.add_row(
                "(attention logits)",
                "",
                *(cell for axis in self.axes for cell in ("", _cell(logits.get(axis)), "")),
            )
        text = io.StringIO()
        Console(file=text, width=220, color_system=None).print(grid)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def to_json(self) -> str:
        """Verdict, findings and slopes as JSON text."""
        about = {
            name: getattr(self, name)
            for name in ("rule", "why", "axes", "seeds", "steps", "verdict", "notes", "spots")
        }
        found = [{"name": each.name, "text": each.text} for each in self.findings]
        return json.dumps(
            about | {"findings": found, "slopes": [each.to_json() for each in self.slopes]},
            indent=1,
        )

    def to_csv(self) -> str:
        """Every measured number as CSV text, a row each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(self.rows)
        return text.getvalue()

    def figure(self) -> Figure:
        """Small multiples by module: change against width and depth, one line a step.

        Raises:
            MutransferError: matplotlib is missing.
        """
        from ._figure import figure

        return figure(self)

    def save(self, folder: str | Path) -> Path:
        """Write check.json, check.csv, check.txt, check.png and check.svg into a folder, and return it.

        Raises:
            MutransferError: matplotlib is missing, or the files cannot be written.
        """
        from ..report import save

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in {
                "check.json": self.to_json(),
                "check.csv": self.to_csv(),
                "check.txt": str(self) + "\n",
            }.items():
                (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise MutransferError(
                f"cannot write the check to {folder}: {error.strerror or error}; give another path"
            ) from None
        save(self.figure(), folder / "check")
        return folder

    def series(
        self, name: str, quantity: str, axis: str
    ) -> Iterator[tuple[int, list[tuple[int, float]]]]:
        """For each step, the geometric mean over seeds at each size of an axis, the other axis at its smallest."""
        import math

        from ._slopes import series

        other = next((each for each in self.axes if each != axis), None)
        index = 0 if axis == "width" else 1
        own = [
            row
            for row in self.rows
            if row.kind == "module" and (row.rule != "sp" or self.rule == "sp")
        ]
        for (_, pattern, found, step), values in series(own).items():
            if (pattern, found) != (name, quantity):
                continue
            points: dict[int, list[float]] = {}
            for size, value in values.items():
                if (other is None or size[1 - index] == self.axes[other][0]) and value > 0:
                    points.setdefault(size[index], []).append(math.log(value))
            yield (
                step,
                [(size, math.exp(sum(logs) / len(logs))) for size, logs in sorted(points.items())],
            )


def _cell(slope: Slope | None) -> str:
    """An exponent with half of its interval, what is expected where that is not 0, and a mark where it is wrong."""
    if slope is None or not slope.verdict:
        return ""
    mark = {"fail": " ✗", "undecided": " ?"}.get(slope.verdict, "  ")
    wanted = f" ({slope.expected:.2g})" if slope.expected and abs(slope.expected) > 0.005 else ""
    return f"{round(slope.slope, 2) + 0.0:+.2f} ± {slope.high - slope.slope:.2f}{wanted}{mark}"
