"""Coverage and width of the intervals of an optimum, on curves whose optimum is known.

python -m benchmarks.transfer.optimum [simulated] [digits] [--draws 500] [--cells step noise ...]

Appends a row a cell to optimum.jsonl, and writes the tables of optimum.md from all rows.
"""

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer.families import FAMILIES, NOISES, draw
from mutransfer.core import about
from mutransfer.statistics import Array, interval, posterior, resamples, vertex

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "optimum.jsonl", HERE / "optimum.md"
NETWORKS = ("digits-adamw-mlp", "digits-sgd-mlp", "digits-adam-resmlp")
SEEDS = (1, 3, 5, 10)
GRIDS = {"1/2": (0, 1), "1, even": (0, 2), "1, odd": (1, 2)}

Row = dict[str, Any]
Sample = tuple[Array, Array, float]


def bootstrap(places: Array, losses: Array) -> tuple[float, float]:
    """Return the interval that was used before: percentiles of resampled vertices."""
    means = losses[resamples(len(losses))].mean(1)
    return interval(vertex(places, means))


def measured(samples: Iterator[Sample], step: float) -> Row:
    """Return coverage, widths and errors of both methods, and the time of ours."""
    hits, widths, errors, before, seconds = [], [], [], [], []
    statuses: Counter[str] = Counter()
    for places, losses, truth in samples:
        start = time.process_time()
        found = posterior(places, losses)
        seconds.append(time.process_time() - start)
        hits.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
        errors.append(found.position - truth)
        statuses[found.status] += 1
        low, high = bootstrap(places, losses)
        before.append((low <= truth <= high, high - low))
    old = np.array(before)
    return {
        "draws": len(hits),
        "coverage": float(np.mean(hits)),
        "width": float(np.mean(widths)),
        "median_width_steps": float(np.median(widths) / step),
        "bias": float(np.mean(errors)),
        "rms": float(np.sqrt(np.mean(np.square(errors)))),
        "bootstrap_coverage": float(old[:, 0].mean()),
        "bootstrap_width": float(old[:, 1].mean()),
        "statuses": dict(statuses),
        "milliseconds": 1e3 * float(np.median(seconds)),
    }


def simulated(draws: int, steps: list[float], noises: list[str]) -> Iterator[Row]:
    """Yield a row for every family, number of seeds, step and noise."""
    for step in steps:
        for noise in noises:
            for number, (name, family) in enumerate(FAMILIES.items()):
                for seeds in SEEDS:
                    rng = np.random.default_rng([number, seeds, int(4 * step), len(noise)])
                    samples = (draw(family, seeds, step, NOISES[noise], rng) for _ in range(draws))
                    cell = {"part": "simulated", "family": name, "seeds": seeds}
                    yield cell | {"step": step, "noise": noise} | measured(samples, step)


@cache
def sweep(folder: Path, name: str) -> tuple[Array, Array]:
    """Return log2 rates and losses (seeds, rates) of a recorded sweep; NaN where it diverged."""
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    rates = sorted({float(row["lr"]) for row in rows})
    seeds = sorted({int(row["seed"]) for row in rows})
    losses = np.full((len(seeds), len(rates)), np.nan)
    for row in rows:
        place = seeds.index(int(row["seed"])), rates.index(float(row["lr"]))
        losses[place] = float(row["loss"] or "nan")
    return np.log2(rates), losses


def truths(places: Array, losses: Array) -> Array:
    """Return the optimum of the mean of all seeds by several fits around the lowest value.

    Parabola through 3 values, cubic and quartic through 5, cubic through 7, of loss and log loss.
    """
    mean = losses.mean(0)
    best = int(np.nanargmin(mean))
    fine = np.linspace(-1, 1, 4001)
    found = []
    for values, degree in ((3, 2), (5, 3), (5, 4), (7, 3)):
        near = slice(best - values // 2, best + values // 2 + 1)
        if np.isfinite(mean[near]).all():
            for y in (mean[near], np.log(mean[near])):
                fit = np.polyfit(places[near] - places[best], y, degree)
                found.append(places[best] + fine[np.argmin(np.polyval(fit, fine))])
    return np.array(found)


def digits(draws: int, folder: Path) -> Iterator[Row]:
    """Yield a row for every network, grid and number of seeds drawn from all of them."""
    for name in NETWORKS:
        places, losses = sweep(folder, name)
        several = truths(places, losses)
        truth = float(np.median(several))
        for grid, (first, stride) in GRIDS.items():
            x, y = places[first::stride], losses[:, first::stride]
            for seeds in SEEDS:
                rng = np.random.default_rng([seeds, first, stride])
                chosen = (rng.choice(len(y), seeds, replace=False) for _ in range(draws))
                samples = ((x, y[rows], truth) for rows in chosen)
                row = measured(samples, stride / 2)
                known = {"truth": truth, "truth_low": several.min(), "truth_high": several.max()}
                cell = {"part": "digits", "network": name, "grid": grid, "seeds": seeds}
                yield cell | row | known


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cells(rows: list[Row], names: tuple[str, ...], columns: tuple[str, ...]) -> str:
    """Return a table with a line for each of `names`' values and the seeds side by side."""
    header = [*names, *(f"{seeds} seed{'s' * (seeds > 1)}" for seeds in SEEDS)]
    lines: dict[tuple[str, ...], dict[int, str]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in names)
        lines.setdefault(key, {})[row["seeds"]] = " / ".join(
            f"{row[column]:.3f}" if "coverage" in column else f"{row[column]:.2f}"
            for column in columns
        )
    return table(header, [[*key, *(v.get(s, "") for s in SEEDS)] for key, v in lines.items()])


def latest(rows: list[Row]) -> list[Row]:
    """Return the last row of every cell."""
    keys = ("part", "family", "network", "grid", "seeds", "step", "noise")
    return list({tuple(row.get(key) for key in keys): row for row in rows}.values())


def page(rows: list[Row]) -> str:
    """Return the tables of all rows."""
    parts = {part: [r for r in rows if r.get("part") == part] for part in ("simulated", "digits")}
    columns = {"ours": ("coverage", "width"), "before": ("bootstrap_coverage", "bootstrap_width")}
    text = ["## Tables\n", "Coverage / mean width in octaves.\n"]
    for part, names in (
        ("simulated", ("family", "step", "noise")),
        ("digits", ("network", "grid")),
    ):
        if parts[part]:
            fewest = min(row["draws"] for row in parts[part])
            for label, chosen in columns.items():
                title = "posterior" if label == "ours" else "bootstrap of the vertex"
                text.append(f"### {part}, {title} ({fewest} draws a cell)\n")
                text.append(cells(parts[part], names, chosen))
    cliff = [row for row in parts["simulated"] if row["family"] == "cliff"]
    if cliff:
        text.append("### cliff: median width in steps\n")
        text.append(cells(cliff, ("step", "noise"), ("median_width_steps",)))
    slowest = max(row["milliseconds"] for row in rows if "milliseconds" in row)
    text.append(f"Slowest cell: {slowest:.1f} ms of CPU a curve, median over its draws.\n")
    return "\n".join(text)


def write_page() -> None:
    """Replace the tables of the page, and keep what is above them."""
    rows = latest([json.loads(line) for line in ROWS.read_text().splitlines()])
    above = PAGE.read_text().partition("## Tables")[0] if PAGE.exists() else ""
    PAGE.write_text(above + page(rows))


def main() -> None:
    """Measure the chosen parts and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="simulated, digits; none only writes the tables")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--steps", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--noises", nargs="+", default=list(NOISES))
    parser.add_argument("--data", type=Path, default=HERE / "data")
    given = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "simulated": lambda: simulated(given.draws, given.steps, given.noises),
        "digits": lambda: digits(given.draws, given.data),
    }
    for part in given.parts:
        origin = {"about": {**about(), "numpy": np.__version__}}
        for row in chain([origin], parts[part]()):
            with ROWS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    write_page()


if __name__ == "__main__":
    main()
