"""The result of a coordinate check: verdict, findings, exponents, every number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import (
    Drawn,
    FrozenDict,
    MutransferError,
    Result,
    columns,
    csv_text,
    number,
    parsed,
    parsing,
    plain,
    save_folder,
)
from ..reading import pattern
from ..rules import Parametrization
from ._findings import Finding
from ._quantities import AXES, When
from ._quantities import columns as quantity_columns
from ._rows import Row
from ._slopes import Slope, series


@dataclass(frozen=True, kw_only=True, repr=False)
class CoordinateCheck(Result, Drawn):
    """The verdict on a model's scaling, with every number that it rests on.

    Attributes:
        parametrization: The rule that was checked, as data.
        why: Why this rule.
        axes: The sizes along each axis.
        seeds: Number of networks of each size.
        steps: Number of steps that they were trained.
        verdict: "pass", "fail" or "undecided".
        findings: What is wrong, by tensor, with the likely cause.
        notes: What was skipped or not seen, and what to do about it.
        slopes: The exponent of every quantity, with the expected one.
        rows: Every measured number; those of the negative control have the rule "sp".
        spots: The place of each module and tensor in the residual network, by its label.
    """

    parametrization: Parametrization
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

    def __post_init__(self) -> None:
        for name in ("axes", "spots"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))

    @property
    def rule(self) -> str:
        """Name of the rule that was checked."""
        return self.parametrization.name

    @property
    def ok(self) -> bool:
        """True if the verdict is "pass"."""
        return self.verdict == "pass"

    def raise_if_wrong(self) -> None:
        """Raise unless the check passes.

        Raises:
            MutransferError: with the verdict, all findings and notes.
        """
        if not self.ok:
            raise MutransferError("\n".join(self._head()))

    def slope(
        self, name: str, quantity: str, axis: str = "width", step: int | None = None
    ) -> Slope:
        """Return one exponent.

        Args:
            name: The label of a module or tensor; "*" for attention.
            quantity: The quantity.
            axis: The axis.
            step: Number of steps; the last one by default.

        Raises:
            MutransferError: nothing of the kind was measured.
        """
        wanted = name, quantity, axis
        slopes = [s for s in self.slopes if (s.name, s.quantity, s.axis) == wanted]
        slopes = [slope for slope in slopes if step is None or slope.step == step]
        if not slopes:
            names = sorted({slope.name for slope in self.slopes})
            raise MutransferError(
                f"no {quantity} of {name!r} in {axis} was measured; there are {names}"
            )
        return max(slopes, key=lambda slope: slope.step)

    def series(
        self, name: str, quantity: str, axis: str
    ) -> Iterator[tuple[int, list[tuple[int, float]]]]:
        """Yield, for each step, a module's value at each size of an axis.

        Values are geometric means over seeds, with the other axis at its smallest.
        """
        along = AXES.index(axis)
        others = [sizes[0] for other, sizes in self.axes.items() if other != axis]
        of_rule = (row for row in self.rows if row.rule != "sp" or self.rule == "sp")
        wanted = (row for row in of_rule if (row.kind, row.quantity) == ("module", quantity))
        for (_, module, _, step), values in series(wanted).items():
            if module != name:
                continue
            logs: dict[int, list[float]] = {}
            for network, value in values.items():
                if value > 0 and (not others or network[1 - along] == others[0]):
                    logs.setdefault(network[along], []).append(math.log(value))
            means = {size: math.exp(sum(each) / len(each)) for size, each in logs.items()}
            yield step, sorted(means.items())

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", self._table()])

    def _head(self) -> list[str]:
        ranges = (f"{axis} {sizes[0]} to {sizes[-1]}" for axis, sizes in self.axes.items())
        return [
            f"coordinate check of {self.rule} ({self.why}): {self.verdict.upper()}",
            f"{', '.join(ranges)}; {self.steps} step{'s' * (self.steps != 1)}, "
            f"{self.seeds} seed{'s' * (self.seeds != 1)}; "
            "exponents of the last step with 95% intervals",
            *(f"  wrong: {finding}" for finding in self.findings),
            *(f"  note: {note}" for note in self.notes),
        ]

    def _table(self) -> str:
        cells = [(axis, column) for axis in self.axes for column in quantity_columns()]
        rows = [["module", "", *(f"{axis}: {column}" for axis, column in cells)]]
        shown = self._shown()
        for name in dict.fromkeys(slope.name for slope in self.slopes if slope.kind == "module"):
            row = [_cell(shown.get(("module", name, *cell))) for cell in cells]
            if any(row):
                spot = self.spots.get(name.partition("#")[0], "")
                rows.append([name or "(output)", spot, *row])
        logits = [_cell(shown.get(("attention", "*", *cell))) for cell in cells]
        if any(logits):
            rows.append(["(attention logits)", "", *logits])
        return columns(rows, right=range(2, 2 + len(cells)))

    def _shown(self) -> dict[tuple[str, str, str, str], Slope]:
        """Return the printed exponents, by kind, name, axis and column."""
        shown: dict[tuple[str, str, str, str], Slope] = {}
        for slope in self.slopes:
            quantity = slope.measured
            step = 0 if quantity.judged == When.START else self.steps
            if quantity.column and slope.step == step:
                shown[slope.kind, slope.name, slope.axis, quantity.column] = slope
        return shown

    def to_json(self) -> dict[str, Any]:
        """Return the whole check as data; its rows column by column."""
        names = ("why", "axes", "seeds", "steps", "verdict", "notes", "spots", "findings")
        data = {name: getattr(self, name) for name in names}
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(Row._fields)
        data |= {
            "rule": self.rule,
            "parametrization": self.parametrization,
            "slopes": self.slopes,
            "rows": dict(zip(Row._fields, columns, strict=True)),
        }
        result: dict[str, Any] = plain(data)
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> CoordinateCheck:
        """Return the check that `to_json` wrote.

        Raises:
            MutransferError: the data is no check.
        """
        with parsing("a check written by CoordinateCheck.to_json"):
            fields = parsed(data)
            fields.pop("rule")
            return cls(
                **{
                    **fields,
                    "parametrization": Parametrization.from_json(fields["parametrization"]),
                    "axes": {axis: tuple(sizes) for axis, sizes in fields["axes"].items()},
                    "notes": tuple(fields["notes"]),
                    "findings": tuple(Finding(**each) for each in fields["findings"]),
                    "slopes": tuple(map(Slope.from_json, fields["slopes"])),
                    "rows": _rows(fields["rows"]),
                }
            )

    def to_csv(self) -> str:
        """Return every measured number as CSV, one a row."""
        return csv_text(self._plain_rows())

    def save(self, out: str | Path) -> Path:
        """Write check.txt, .json, .csv, .png and .svg into a folder, and return it.

        Raises:
            MutransferError: matplotlib is missing, or the files cannot be written.
        """
        return save_folder(self, self._plain_rows(), out, name="check")

    def _plain_rows(self) -> list[dict[str, Any]]:
        return [row._asdict() for row in self.rows]


def _rows(columns: Mapping[str, Sequence[Any]]) -> tuple[Row, ...]:
    # Whole numbers stay whole, so that the CSV of a check that was read is that of the one written.
    values = [value if isinstance(value, int) else number(value) for value in columns["value"]]
    # Checks that were written before labels had patterns.
    labels = columns.get("label") or list(map(pattern, columns["name"]))
    fields = {**columns, "value": values, "label": labels}
    return tuple(Row(*row) for row in zip(*(fields[name] for name in Row._fields), strict=True))


def _cell(slope: Slope | None) -> str:
    """Return an exponent with its interval, the expected one, and a mark if wrong."""
    if slope is None or not slope.verdict:
        return ""
    mark = {"fail": " ✗", "undecided": " ?"}.get(slope.verdict, "  ")
    is_notable = slope.expected and abs(slope.expected) > 0.005
    expected = f" ({slope.expected:.2g})" if is_notable else ""
    exponent = f"{round(slope.slope, 2) + 0.0:+.2f}"
    return f"{exponent} ± {slope.high - slope.slope:.2f}{expected}{mark}"
