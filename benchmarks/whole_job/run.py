"""A whole sweep, against a loop of the shell that runs a script a configuration.

Practice: `train.py` once for each width, rate and seed, one process after the other, or two at a
time with one thread each. The library: `mt.sweep` over the same widths, rates, seeds and steps, by
its whole grid and by refinement, each in a process of its own with nothing compiled:

    python -m benchmarks.whole_job.run [--full] [--json FILE]

About 8 minutes on two cores, half an hour with `--full`; `--small` tries the script in a minute.
Without `--full` the practice runs every sixth configuration, all widths among them, and its time is
scaled up.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import mutransfer as mt
from mutransfer.certificates import optima_rows
from mutransfer.core import about, text
from mutransfer.tasks import mlp

from ..sweep_throughput.hosts import THREADS
from ..sweep_throughput.whole import cold

SCRIPT = Path(__file__).with_name("train.py")
SAMPLED, ROUNDS = 6, 3
GOALS = {1: 15.0, 2: 8.0}
SEARCHES = ("grid", "refine")


@dataclass(frozen=True, kw_only=True)
class Job:
    """The sweep: widths, rates, seeds and steps."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    rates: tuple[float, ...] = tuple(2.0**-i for i in range(14, 2, -1))
    seeds: int = 3
    steps: int = 200

    def configurations(self) -> list[tuple[int, float, int]]:
        """Return every width, rate and seed."""
        return list(product(self.widths, self.rates, range(self.seeds)))

    def study(self) -> mt.Study:
        """Return the same as a study of the library."""
        return mt.Study(
            mlp,
            width=list(self.widths),
            depth=[3],
            lr=list(self.rates),
            seeds=self.seeds,
            steps=self.steps,
            batch=64,
            task="digits",
            optimizer="adam",
            rules=("sp",),
        )


SMALL = Job(widths=(16,), rates=tuple(2.0**-i for i in range(9, 2, -1)), seeds=1, steps=20)


def practice(
    job: Job, configurations: Sequence[tuple[int, float, int]], together: int
) -> tuple[float, list[float]]:
    """Return the seconds of the script over configurations, and its losses.

    Args:
        job: The sweep.
        configurations: Width, rate and seed of each run.
        together: Processes that run side by side; more than one have one thread each.
    """
    threads = {} if together == 1 else dict.fromkeys(THREADS, "1")

    def loss(configuration: tuple[int, float, int]) -> float:
        width, lr, seed = configuration
        flags = {"width": width, "lr": lr, "seed": seed, "steps": job.steps}
        given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        command = [sys.executable, str(SCRIPT), *given]
        environment = {**os.environ, **threads}
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return float(out.stdout.split()[-1])

    start = time.perf_counter()
    with ThreadPoolExecutor(together) as pool:
        losses = list(pool.map(loss, configurations))
    return time.perf_counter() - start, losses


def interleaved(job: Job, full: bool) -> tuple[dict[int, float], dict[Any, float]]:
    """Return the scaled seconds of the practice, and losses by configuration.

    One loop and two at a time take turns, width by width.
    """
    sample = job.configurations()[:: 1 if full else SAMPLED]
    times, losses = dict.fromkeys(GOALS, 0.0), {}
    for width in job.widths:
        piece = [each for each in sample if each[0] == width]
        for together in GOALS:
            seconds, found = practice(job, piece, together)
            times[together] += seconds * len(job.configurations()) / len(sample)
            losses |= dict(zip(piece, found, strict=True))
    return times, losses


def library(search: str, folder: str, *, small: bool) -> float:
    """Return the seconds of a sweep in a process of its own, with nothing compiled."""
    end = ["--small"] if small else []
    command = [sys.executable, "-m", __spec__.name, "--search", search, "--out", folder, *end]
    return cold(command)


def optima(runs: mt.Runs) -> dict[str, dict[str, Any]]:
    """Return the log2 of the best rate of every width, with the ends of its interval."""
    rows = optima_rows(mt.transfer(runs).outcomes)
    return {
        f"{row['width']:g}": {
            "log2_lr": row["log2_lr"],
            "interval": [row["low"], row["high"]],
            "status": row["status"],
        }
        for row in rows
    }


def are_same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return True where two optima lie within half the joint width of their intervals."""
    halves = [(high - low) / 2 for low, high in (first["interval"], second["interval"])]
    return abs(first["log2_lr"] - second["log2_lr"]) <= math.hypot(*halves)


def of_practice(losses: dict[Any, float], folder: Path) -> dict[str, dict[str, Any]]:
    """Return the optima of the script's own losses, by a table as it would be kept."""
    lines = [f"{width},{lr},{seed},{loss}" for (width, lr, seed), loss in losses.items()]
    table = folder / "results.csv"
    table.write_text("\n".join(["width,lr,seed,loss", *lines]) + "\n")
    return optima(mt.Runs.from_table(table))


def distance(losses: dict[Any, float], runs: mt.Runs) -> float:
    """Return the median relative distance of losses of the script and of the library.

    Both draw models and batches alike in distribution, not in number.
    """
    known = {(row["width"], row["lr"], row["seed"]): runs.loss_of(row) for row in runs.rows}
    shared = [key for key in losses if math.isfinite(known.get(key, math.inf))]
    return statistics.median(abs(losses[key] / known[key] - 1) for key in shared)


def measured(job: Job, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all sides, print them, and return the figures."""
    times: dict[str, list[float]] = {search: [] for search in SEARCHES}
    with tempfile.TemporaryDirectory() as folder:
        for number, search in product(range(arguments.rounds), SEARCHES):
            # The practice comes between the rounds, so that all see the same machine.
            if number == arguments.rounds // 2 and search == SEARCHES[0]:
                hand, losses = interleaved(job, arguments.full)
            place = f"{folder}/{search}-{number}"
            times[search].append(library(search, place, small=arguments.small))
        last = arguments.rounds - 1
        records = {s: mt.Runs.read(f"{folder}/{s}-{last}") for s in SEARCHES}
        best = {search: optima(record) for search, record in records.items()}
        if arguments.full:
            best["practice"] = of_practice(losses, Path(folder))
    seconds = {search: statistics.median(each) for search, each in times.items()}
    figures: dict[str, Any] = {
        "practice": {str(n): value for n, value in hand.items()},
        "library": seconds,
        "rounds": times,
        "runs": {search: len(record.rows) for search, record in records.items()},
        "ways": {search: record.header.get("ways", {}) for search, record in records.items()},
        "optima": best,
        "losses differ by": distance(losses, records["grid"]),
    }
    show(job, figures)
    return figures


def show(job: Job, figures: dict[str, Any]) -> None:
    """Print times, ratios and optima."""
    print(f"{len(job.configurations())} runs of {job.steps} steps, widths {job.widths}")
    for search, seconds in figures["library"].items():
        print(f"  {search}: {seconds:.1f} s, {figures['runs'][search]} runs")
        for together, goal in GOALS.items():
            hand = figures["practice"][str(together)]
            ratio = hand / seconds
            print(f"    script, {together} at a time, {hand:.0f} s: {ratio:.1f}x (goal {goal:g})")
    grid = figures["optima"]["grid"]
    for name, best in figures["optima"].items():
        print(f"  log2 of the best rate by {name}:")
        for width, each in best.items():
            low, high = each["interval"]
            known = name != "grid" and width in grid
            same = f", same: {are_same(each, grid[width])}" if known else ""
            print(f"    {width}: {each['log2_lr']:.2f} [{low:.2f}, {high:.2f}]{same}")
    print(f"  losses of script and library differ by {figures['losses differ by']:.1%} (median)")


def main() -> None:
    """Measure, or run one sweep where a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--full", action="store_true", help="every run of the script")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="sweeps of the library")
    parser.add_argument("--small", action="store_true", help="a tiny sweep, to try the script")
    parser.add_argument("--search", choices=SEARCHES, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    job = SMALL if arguments.small else Job()
    if arguments.out:
        mt.sweep(job.study(), arguments.out, search=arguments.search)
        return
    figures = measured(job, arguments)
    print(about())
    if arguments.json:
        arguments.json.write_text(text({"about": about(), **figures}) + "\n")


if __name__ == "__main__":
    main()
