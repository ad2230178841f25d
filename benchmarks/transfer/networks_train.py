"""Train the networks whose losses are in `data/`.

python -m benchmarks.transfer.networks_train [NAME ...]
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mutransfer import sweep

from .networks_studies import MANY_SEEDS, NETWORKS

DATA = Path(__file__).parent / "data"

EXTEND = 8
"""Rates that a grid may be extended by; under `sp` an optimum moves by octaves."""


def write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write runs as a table; the loss of a run that diverged is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        for row in sorted(rows, key=lambda row: [row[name] for name in columns if name in KEYS]):
            table.writerow([_cell(row, name) for name in columns])


KEYS = ("rule", "width", "depth", "lr", "seed")


def _cell(row: Mapping[str, Any], name: str) -> Any:
    if name in KEYS and name != "lr":
        return row[name]
    # What was measured before a run diverged is no result.
    if name != "lr" and (row["status"] != "finished" or row[name] is None):
        return ""
    return f"{row[name]:.12g}" if name == "lr" else f"{row[name]:.6g}"


def many_seeds(name: str, records: Path) -> None:
    """Train one size with many seeds."""
    runs = sweep(MANY_SEEDS[name], records / name)
    write(DATA / f"{name}.csv", ["lr", "seed", "loss", "final"], runs.rows)


def networks(name: str, records: Path) -> None:
    """Train a sweep, then its targets, with more rates where the best is at an edge."""
    found = NETWORKS[name]
    small = sweep(found.sweep(), records / name / "sweep", extend=EXTEND)
    large = sweep(found.truth(), records / name / "truth", extend=2 * EXTEND)
    columns = ["rule", "width", "depth", "lr", "seed", "loss", "final"]
    write(DATA / "networks" / f"{name}.csv", columns, [*small.rows, *large.rows])


def main() -> None:
    """Train what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*MANY_SEEDS, *NETWORKS])
    parser.add_argument("--records", type=Path, default=Path("runs/networks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names:
        start = time.monotonic()
        train = many_seeds if name in MANY_SEEDS else networks
        train(name, arguments.records)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
