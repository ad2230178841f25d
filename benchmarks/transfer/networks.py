"""Certificates against networks that were trained afterwards.

    python -m benchmarks.transfer.networks [NAME ...]

Each table in `data/` has the runs of a sweep and of larger networks. The larger ones are hidden,
`mutransfer.transfer` predicts them, and their own full grids say what was right.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer import Runs, Size, transfer
from mutransfer.core import about, plain, varying

from .networks_truth import Truth

HERE = Path(__file__).parent
DATA, RESULT, PAGE = HERE / "data" / "networks", HERE / "networks.json", HERE / "networks.md"
COMMAND = "python -m benchmarks.transfer.networks"
BEYOND = 4
"""A target is at least so many times larger than the sweep's largest size."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A certificate of one rule at one target, and what was true there.

    Attributes:
        study: Name of the table.
        rule: The rule.
        at: The target.
        truth: Log2 of the best rate of the target's own grid.
        truth_error: Its standard error over seeds, in octaves.
        bracketed: True if the target's own optimum is not at an end of its grid.
        cliff: True if a seed diverged at the next rate of the target's grid.
        refusal: Why the certificate refused; None where it did not.
        predicted: Log2 of the certificate's rate.
        low: Log2 of the interval's lower end.
        high: Log2 of its upper end.
        regret: Loss of the certificate's rate at the target, above the lowest.
        bound: The certificate's bound of it.
        warnings: The certificate's warnings.
    """

    study: str
    rule: str
    at: str
    truth: float
    truth_error: float
    bracketed: bool
    cliff: bool
    refusal: str | None = None
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    regret: float | None = None
    bound: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def covered(self) -> bool:
        """True if the interval contains the optimum."""
        return (
            self.low is not None and self.high is not None and self.low <= self.truth <= self.high
        )

    @property
    def may_cover(self) -> bool:
        """True if the optimum, within two standard errors, may lie in the interval."""
        if self.low is None or self.high is None:
            return False
        slack = 2 * self.truth_error
        return self.low - slack <= self.truth <= self.high + slack

    @property
    def holds(self) -> bool:
        """True if the regret is within its bound."""
        return self.regret is not None and self.bound is not None and self.regret <= self.bound

    @property
    def width(self) -> float:
        """Width of the interval in octaves."""
        return math.nan if self.low is None or self.high is None else self.high - self.low

    @property
    def error(self) -> float:
        """Octaves from the optimum to the certificate's rate."""
        return math.nan if self.predicted is None else self.predicted - self.truth


def cases(path: Path) -> Iterator[Case]:
    """Yield the certificates of one table, each with the truth."""
    every = Runs.from_table(path, axes=["width", "depth"])
    for target in targets(every):
        found = transfer(sweep_below(every, target), at=dict(target))
        for rule in every.rules:
            yield compared(path.stem, rule, target, truth_at(every, rule, target), found[rule])


def targets(runs: Runs) -> list[Size]:
    """Return the sizes that were trained afterwards: with other seeds than the smallest size."""
    rule = runs.rules[0]
    sizes = runs.sizes(rule)
    first = runs.seeds(rule, sizes[0])
    return [size for size in sizes if runs.seeds(rule, size) != first]


def sweep_below(runs: Runs, target: Size) -> Runs:
    """Return the runs of the sweep at sizes from which the target is at least four times away."""
    trained_later = targets(runs)
    axes = varying([runs.size_of(row) for row in runs.rows])
    rows = [
        row
        for row in runs.rows
        if (size := runs.size_of(row)) not in trained_later
        and all(BEYOND * size[axis] <= target[axis] for axis in axes)
    ]
    return replace(runs, rows=rows)


def truth_at(runs: Runs, rule: str, size: Size) -> Truth:
    """Return the losses of a target's own grid."""
    rates, losses = runs.losses(rule, size)
    return Truth(places=np.log2(rates), losses=losses)


def compared(study: str, rule: str, at: Size, truth: Truth, certificate: Any) -> Case:
    """Return a certificate beside the truth."""
    known: dict[str, Any] = {
        "study": study,
        "rule": rule,
        "at": str(at),
        "truth": truth.optimum[0],
        "truth_error": truth.error,
        "bracketed": truth.bracketed,
        "cliff": truth.at_cliff,
        "warnings": tuple(map(str, certificate.warnings)),
    }
    if certificate.refusal is not None:
        return Case(**known, refusal=str(certificate.refusal))
    place = math.log2(certificate.hyperparameters["lr"])
    low, high = map(math.log2, certificate.intervals["lr"])
    return Case(
        **known,
        predicted=place,
        low=low,
        high=high,
        regret=truth.regret(place),
        bound=certificate.regret.high,
    )


def totals(found: Sequence[Case]) -> dict[str, Any]:
    """Return counts and medians of all cases; the share of hits is of those that were answered."""
    answered = [case for case in found if case.refusal is None]
    both = [case.covered and case.holds for case in answered]
    errors = [abs(case.error) for case in answered]
    finite = [case.regret for case in answered if case.regret is not None]
    return {
        "cases": len(found),
        "refused": len(found) - len(answered),
        "answered": len(answered),
        "covered": sum(case.covered for case in answered),
        "within the truth's error": sum(case.may_cover for case in answered),
        "bound holds": sum(case.holds for case in answered),
        "covered and bound holds": sum(both),
        "share": sum(both) / len(both) if both else math.nan,
        "median width": float(np.median([case.width for case in answered])) if answered else None,
        "median error": float(np.median(errors)) if answered else None,
        "median regret": float(np.median(finite)) if finite else None,
    }


def by_rule(found: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Return the totals of all rules together, and of each."""
    rules = dict.fromkeys(case.rule for case in found)
    each = {rule: totals([case for case in found if case.rule == rule]) for rule in rules}
    return {"all rules": totals(found), **each}


METHOD = """The data and how they were trained: [data](data/README.md).
A target is predicted from all sizes of the sweep that are at least four times smaller.
Its optimum is that of its own full grid of four other seeds, interpolated; ± is their jackknife.
Regret is the loss at the certificate's rate above the lowest, infinite where a seed diverges.
Nothing is allowed for the truth's own error.
Rates are log2; widths and errors are octaves."""

COLUMNS = (
    "study | rule | target | optimum | rate, interval | width | error | covered | regret | bound | "
    "holds"
)


def page(found: Sequence[Case], made: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    sums = by_rule(found)
    names = list(next(iter(sums.values())))
    lines = [
        "# Certificates against networks trained afterwards",
        "",
        f"`{COMMAND}`, {made['date']}, {made['device']}, mutransfer {made['mutransfer']}.",
        METHOD,
        "",
        _row(["", *names]),
        _row(["-"] * (len(names) + 1)),
        *(_row([rule, *map(_number, row.values())]) for rule, row in sums.items()),
        "",
        f"| {COLUMNS} |",
        _row(["-"] * len(COLUMNS.split("|"))),
        *(_row(_cells(case)) for case in found),
        "",
        "Refusals:",
        "",
        *(f"- {case.study}, {case.rule}, {case.at}: {case.refusal}" for case in _refused(found)),
        "",
    ]
    return "\n".join(lines)


def _refused(found: Iterable[Case]) -> list[Case]:
    return [case for case in found if case.refusal is not None]


def _cells(case: Case) -> list[str]:
    truth = f"{case.truth:.2f} ± {case.truth_error:.2f}"
    if not case.bracketed:
        truth += " (at an end of its grid)"
    if case.cliff:
        truth += ", cliff"
    head = [case.study, case.rule, case.at, truth]
    if case.refusal is not None:
        return [*head, "refused", *[""] * 6]
    return [
        *head,
        f"{case.predicted:.2f} [{case.low:.2f}, {case.high:.2f}]",
        f"{case.width:.2f}",
        f"{case.error:+.2f}",
        "yes" if case.covered else "**no**",
        _number(case.regret),
        _number(case.bound),
        "yes" if case.holds else "**no**",
    ]


def _as_data(case: Case) -> dict[str, Any]:
    return {**asdict(case), "covered": case.covered, "bound holds": case.holds}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compare all tables, and write the result where all were compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    paths = [DATA / f"{name}.csv" for name in names] or sorted(DATA.glob("*.csv"))
    found = [case for path in paths for case in cases(path)]
    made = {**about(), "command": COMMAND}
    text = page(found, made)
    print(text)
    if not names:
        PAGE.write_text(text, encoding="utf-8")
        result = {
            "about": made,
            "totals": by_rule(found),
            "cases": [_as_data(case) for case in found],
        }
        RESULT.write_text(json.dumps(plain(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
