"""Seconds of a certificate, beside those of reading its record.

    python -m benchmarks.transfer.speed

A sweep of 10,000 runs (2 rules, 8 widths, 25 rates, 25 seeds), and the same of 1,000.
"""

from __future__ import annotations

import json
import math
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer import Runs, transfer
from mutransfer.core import about

RESULT = Path(__file__).with_name("speed.json")


def record(widths: int, rates: int, seeds: int) -> Runs:
    """Return a record whose best rate falls under sp and stays under default."""
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for rule, rank, rate, seed in product(
        ("sp", "default"), range(widths), range(rates), range(seeds)
    ):
        power = -10 + rate / 4
        away = power + 6 + 0.3 * rank * (rule == "sp")
        loss = 2 - 0.05 * rank + 0.05 * away**2 + 0.01 * random.standard_normal()
        row = {"rule": rule, "width": 16 << rank, "depth": 2, "lr": 2.0**power, "seed": seed}
        rows.append({**row, "loss": loss if away < 3 else math.inf})
    return Runs(header={}, rows=rows)


def main() -> None:
    """Time certificates and write the result."""
    # The first certificate pays for what is cached.
    transfer(record(3, 9, 3), {"width": 128})
    results = []
    for shape in ((5, 20, 5), (8, 25, 25)):
        runs = record(*shape)
        start = time.perf_counter()
        found = transfer(runs, {"width": 2 * (16 << (shape[0] - 1))})
        seconds = time.perf_counter() - start
        results.append({"runs": len(runs.rows), "granted": len(found.granted), "seconds": seconds})
        print(f"{len(runs.rows)} runs: {seconds:.2f} s, {len(found.granted)} certificates")
    RESULT.write_text(json.dumps({"about": about(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
