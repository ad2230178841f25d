"""Few runs on simulated curves whose optimum is known, beside the full grid of the same span.

    OMP_NUM_THREADS=1 python -m benchmarks.few_runs.simulated [--draws 100]

Ten families of curves span six or nine octaves. The search may measure eighths of an octave and
starts at the centre, with three seeds, or with further ones where it asks for them; the full grid
has steps of half an octave and three seeds. Both intervals come from `statistics.posterior`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer import tables
from benchmarks.transfer.families import FAMILIES, NOISES, Family, draw
from mutransfer.statistics import Array, Refined, Start, posterior, refinement

FINE, COARSE = 0.125, 4
"""Spacing of the places that may be measured, and those of a step of the full grid."""

SEEDS = 3
MOST = {"search": SEEDS, "search, to 10 seeds": 10}
"""Most seeds of a search."""

Row = dict[str, Any]


def search(places: Array, losses: Array, most: int) -> tuple[Refined, int]:
    """Return what the search finds, and the number of its runs.

    Args:
        places: Places that may be measured.
        losses: Losses of all seeds at all of them; infinite where training diverged.
        most: Most seeds.
    """
    seen = np.zeros(losses.shape, dtype=bool)
    seeds = SEEDS
    while True:
        measured = seen.any(0)
        known = np.where(seen, losses, np.nan)[:seeds, measured]
        found = refinement(
            places[measured], known, start=Start(mean=places[-1] / 2, sd=1.5), allowed=places
        )
        if found.reseed and seeds < most:
            seen[seeds, np.isin(places, found.reseed)] = True
            seeds += 1
        elif found.proposals:
            seen[:seeds, np.isin(places, found.proposals)] = True
        else:
            return found, int(seen.sum())


def cell(name: str, family: Family, noise: float, draws: int) -> list[Row]:
    """Return a row for every search and the full grid, on the same curves."""
    outcomes: dict[str, list[tuple[float, ...]]] = {}
    statuses: dict[str, Counter[str]] = {}
    start = time.process_time()
    for number in range(draws):
        rng = np.random.default_rng([number, len(name), int(1000 * noise)])
        places, losses, truth = draw(family, max(MOST.values()), FINE, noise, rng)
        losses = np.where(np.isnan(losses), np.inf, losses)
        grid = posterior(places[::COARSE], losses[:SEEDS, ::COARSE])
        found = {"full grid": (grid.position, grid.low, grid.high, losses[:SEEDS, ::COARSE].size)}
        states = {"full grid": grid.status}
        for label, most in MOST.items():
            one, runs = search(places, losses, most)
            found[label] = (one.place, one.low, one.high, runs)
            states[label] = one.status
        for label, (place, low, high, runs) in found.items():
            outcomes.setdefault(label, []).append(
                (low <= truth <= high, abs(place - truth), (high - low) / 2, runs)
            )
            statuses.setdefault(label, Counter())[states[label]] += 1
    seconds = (time.process_time() - start) / draws
    rows = []
    for label, values in outcomes.items():
        inside, errors, halves, counts = np.array(values, dtype=float).T
        rows.append(
            {
                "family": name,
                "noise": noise,
                "method": label,
                "runs": float(counts.mean()),
                "interval covers": float(inside.mean()),
                "half width, median": float(np.median(halves)),
                "distance, median": float(np.median(errors)),
                "distance, p95": float(np.percentile(errors, 95)),
                "narrow enough": float((halves <= 0.25).mean()),
                "statuses": " ".join(f"{k} {v}" for k, v in statuses[label].most_common()),
                "seconds a curve": seconds,
            }
        )
    return rows


def main() -> None:
    """Measure all cells and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    rows: list[Row] = []
    for noise in NOISES.values():
        for name, family in FAMILIES.items():
            rows += cell(name, family, noise, draws)
            print(tables.markdown(rows[-3:]), flush=True)
    note = "# Few runs on simulated curves\n\nMade by `simulated.py`."
    tables.write("simulated", rows, note, Path(__file__).parent)


if __name__ == "__main__":
    main()
