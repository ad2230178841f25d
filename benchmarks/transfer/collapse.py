"""Outcomes of `collapse` on small networks under right and wrong scaling.

Trains networks on handwritten digits, and asks for every seed alone (one run a size) and for groups
of four seeds whether the rule scales alike:

    OMP_NUM_THREADS=1 python benchmarks/transfer/collapse.py

The method and its constants were chosen on the seeds 0 to 3 (width: 0 to 11) of the first three
studies; the seeds reported here start at 100. The fourth study was not looked at before. One thing
was changed after a first look at the planted faults of the seeds reported: late gaps, too, forbid
that a rule "scales alike". The change was chosen on the other seeds, and it leaves every "does not
scale alike" as it was. Cases of one seed at several rates are not independent.
"""

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mutransfer.certificates import collapse
from mutransfer.core import about
from mutransfer.studies import Runs, Study, log2, sweep
from mutransfer.tasks import mlp, resmlp

OUTCOMES = ("does not scale alike", "cannot tell", "scales alike")
FIRST_SEED = 100
SEEDS = {"default": 12, "sp": 8}
GROUP = 4
FAULT = 4.0
"""Factor of the rate of one size in the planted faults."""

STUDIES: dict[str, dict[str, Any]] = {
    "width, MLP, Adam": {
        "build": mlp,
        "width": [32, 64, 128, 256],
        "depth": [3],
        "lr": log2(-9, -5),
        "optimizer": "adam",
    },
    "depth, residual MLP, Adam": {
        "build": resmlp,
        "width": [32],
        "depth": [4, 8, 16, 32],
        "lr": log2(-9, -5),
        "optimizer": "adam",
    },
    "width, MLP, SGD": {
        "build": mlp,
        "width": [32, 64, 128, 256],
        "depth": [3],
        "lr": log2(-6, -2),
        "optimizer": "sgd",
    },
    "width, residual MLP, AdamW, cosine": {
        "build": resmlp,
        "width": [16, 32, 64, 128],
        "depth": [6],
        "lr": log2(-9, -5),
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.1,
        "steps": 120,
    },
}

Row = dict[str, Any]


def records(name: str, folder: Path) -> Runs:
    """Train what is missing of a study, and return all its runs."""
    found = []
    for rule, seeds in SEEDS.items():
        options = dict(STUDIES[name])
        seeds_here = range(FIRST_SEED, FIRST_SEED + seeds)
        study = Study(options.pop("build"), rules=[rule], seeds=seeds_here, **options)
        found.append(sweep(study, folder / f"{name.replace(', ', '-').replace(' ', '_')}-{rule}"))
    return replace(found[0], rows=[row for runs in found for row in runs.rows])


def groups(runs: Runs, rule: str, size: int) -> Iterator[Runs]:
    """Yield the runs of a rule by groups of so many seeds."""
    of_rule = runs.only(rule)
    seeds = sorted({row["seed"] for row in of_rule.rows})
    for start in range(0, len(seeds) - size + 1, size):
        chosen = set(seeds[start : start + size])
        yield replace(of_rule, rows=[row for row in of_rule.rows if row["seed"] in chosen])


def rates(runs: Runs) -> list[float]:
    """Return the rates of a record, ascending."""
    return sorted({row["lr"] for row in runs.rows})


def axis_of(runs: Runs) -> str:
    """Return the axis that varies."""
    return next(axis for axis in ("width", "depth") if len({row[axis] for row in runs.rows}) > 1)


def shares(outcomes: Sequence[str]) -> list[str]:
    """Return the shares of the three outcomes, and their number."""
    counts = Counter(outcomes)
    total = max(1, len(outcomes))
    return [*(f"{counts[outcome] / total:.2f}" for outcome in OUTCOMES), str(len(outcomes))]


def by_rate(name: str, runs: Runs) -> list[list[str]]:
    """Return the outcomes of one run a size and of groups of four, by rule and rate."""
    rows = []
    for rule in SEEDS:
        for rate in rates(runs):
            cells = []
            for size in (1, GROUP):
                found = [collapse(each, lr=rate)[0].outcome for each in groups(runs, rule, size)]
                cells += shares(found)
            rows.append([name, rule, f"2^{np.log2(rate):g}", *cells])
    return rows


def fewer(name: str, runs: Runs) -> list[list[str]]:
    """Return the outcomes of one run a size with the three largest sizes alone."""
    axis = axis_of(runs)
    smallest = min(row[axis] for row in runs.rows)
    kept = replace(runs, rows=[row for row in runs.rows if row[axis] > smallest])
    rows = []
    for rule in SEEDS:
        found = [
            collapse(each, lr=rate)[0].outcome
            for rate in rates(kept)
            for each in groups(kept, rule, 1)
        ]
        rows.append([name, rule, *shares(found)])
    return rows


def chosen(name: str, runs: Runs) -> list[list[str]]:
    """Return the outcomes at the rate that `collapse` takes by itself."""
    rows = []
    for rule in SEEDS:
        for size in (1, GROUP):
            found = [collapse(each)[0] for each in groups(runs, rule, size)]
            at = Counter(f"2^{np.log2(each.lr):g}" for each in found).most_common(1)[0][0]
            rows.append([name, rule, str(size), at, *shares([each.outcome for each in found])])
    return rows


def planted(name: str, runs: Runs) -> list[list[str]]:
    """Return the outcomes where one size was trained at another rate, under the default rule."""
    axis, middle = axis_of(runs), rates(runs)[2]
    sizes = sorted({row[axis] for row in runs.rows})
    rows = []
    for factor in (FAULT, 1 / FAULT):
        for size in sizes:
            for seeds in (1, GROUP):
                found = [
                    collapse(_faulty(each, axis, size, middle, factor), lr=middle)[0]
                    for each in groups(runs, "default", seeds)
                ]
                located = [
                    each.largest is not None and each.largest.size == size
                    for each in found
                    if each.outcome == OUTCOMES[0]
                ]
                right = f"{np.mean(located):.2f}" if located and size != sizes[0] else "-"
                outcomes = [each.outcome for each in found]
                what = f"x {factor:g}"
                rows.append([name, what, f"{axis} {size}", str(seeds), *shares(outcomes), right])
    return rows


def _faulty(runs: Runs, axis: str, size: int, rate: float, factor: float) -> Runs:
    """Return the runs at a rate, those of one size replaced by runs at another rate."""

    def of(row: Row) -> float:
        return rate * factor if row[axis] == size else rate

    rows = [row | {"lr": rate} for row in runs.rows if np.isclose(row["lr"], of(row))]
    return replace(runs, rows=rows)


def papers(name: str, runs: Runs) -> list[list[str]]:
    """Return how often curves collapse by the paper's measure, with the seeds' noise known.

    Curves are divided by their last loss (the mean over the last tenth; these networks can fit the
    data, so that the irreducible loss is 0). Those of a seed collapse where the standard deviation
    over sizes is below that over seeds, on average over training and both as shares of the mean.
    """
    rows = []
    for rule in SEEDS:
        apart: list[bool] = []
        for rate in rates(runs):
            curves = _normalised(runs.only(rule), rate)
            if curves is None:
                continue
            noise = float(np.mean(curves.std(0, ddof=1) / curves.mean(0)))
            across = curves.std(1, ddof=1) / curves.mean(1)
            apart += [bool(value > noise) for value in across.mean(-1)]
        rows.append([name, rule, f"{np.mean(apart):.2f}", str(len(apart))])
    return rows


def _normalised(runs: Runs, rate: float) -> np.ndarray | None:
    """Return curves by seed and size, divided by their last loss."""
    axis = axis_of(runs)
    sizes = sorted({row[axis] for row in runs.rows})
    cells = {
        (row["seed"], row[axis]): row["curve"]
        for row in runs.rows
        if row["lr"] == rate and row["status"] == "finished"
    }
    seeds = sorted({seed for seed, _ in cells})
    full = [s for s in seeds if all((s, size) in cells for size in sizes)]
    if len(full) < 2:
        return None
    curves = np.array([[cells[seed, size] for size in sizes] for seed in full])
    tenth = curves.shape[-1] // 10
    return curves / curves[..., -tenth:].mean(-1, keepdims=True)


TABLES: Mapping[str, tuple[Sequence[str], Callable[[str, Runs], list[list[str]]]]] = {
    "The rate that `collapse` takes": (
        ["study", "rule", "runs a size", "rate (mostly)", *OUTCOMES, "cases"],
        chosen,
    ),
    "By rate: one run a size, then four": (
        ["study", "rule", "rate", *OUTCOMES, "cases", *(f"{o} (4)" for o in OUTCOMES), "cases (4)"],
        by_rate,
    ),
    "One run a size, the three largest sizes alone, all rates": (
        ["study", "rule", *OUTCOMES, "cases"],
        fewer,
    ),
    "Planted faults: one size at four times or a quarter of the rate, default rule": (
        ["study", "rate of it", "size", "runs a size", *OUTCOMES, "cases", "size named"],
        planted,
    ),
    "The paper's measure, which knows the noise of 8 or 12 seeds: share not collapsed": (
        ["study", "rule", "not collapsed", "cases"],
        papers,
    ),
}


def summary(rows: Sequence[Sequence[str]]) -> str:
    """Return false alarms and power over all studies and rates."""
    lines = []
    for rule in SEEDS:
        for what, first in (("one run a size", 3), (f"{GROUP} runs a size", 7)):
            mine = [row for row in rows if row[1] == rule and int(row[first + 3])]
            cases = sum(int(row[first + 3]) for row in mine)
            totals = [
                sum(round(float(row[first + n]) * int(row[first + 3])) for row in mine)
                for n in range(3)
            ]
            text = ", ".join(f"{o} {t / cases:.3f}" for o, t in zip(OUTCOMES, totals, strict=True))
            lines.append(f"- {rule}, {what}, {cases} cases: {text}")
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Train what is missing, and write collapse.md and collapse.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"))
    folder = parser.parse_args().runs
    torch.set_num_threads(1)
    start = time.process_time()
    all_runs = {name: records(name, folder) for name in STUDIES}
    seconds = sum(row.get("seconds", 0.0) for runs in all_runs.values() for row in runs.rows)
    count = sum(len(runs.rows) for runs in all_runs.values())
    tables = {
        title: {"header": list(header), "rows": [r for n in STUDIES for r in make(n, all_runs[n])]}
        for title, (header, make) in TABLES.items()
    }
    overall = summary(tables["By rate: one run a size, then four"]["rows"])
    here = Path(__file__).with_suffix("")
    text = (
        "# Collapse of loss curves: one run a size\n\n"
        "Made by `OMP_NUM_THREADS=1 python benchmarks/transfer/collapse.py`; see its head.\n"
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, one thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, "
        f"{count} runs, {seconds:.0f} s of training\n"
        "(with other work on the machine; about a tenth of that alone).\n\n"
        'Under `default` an outcome "does not scale alike" is a false alarm; under `sp` it is '
        "right.\nShares of outcomes; held-out seeds.\n\n"
        f"{overall}\n"
    )
    for title, table in tables.items():
        text += f"\n## {title}\n\n{markdown(table['header'], table['rows'])}\n"
    here.with_suffix(".md").write_text(text, encoding="utf-8")
    data = {"about": about(), "seconds": seconds, "summary": overall.splitlines(), **tables}
    here.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(overall, f"\n{time.process_time() - start:.0f} s in all", sep="\n")


if __name__ == "__main__":
    main()
