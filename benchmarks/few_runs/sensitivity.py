"""Few runs under other priors of a smooth curve: no figure rests on one constant.

OMP_NUM_THREADS=1 python -m benchmarks.few_runs.sensitivity TABLE.csv
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.few_runs.curves import read
from benchmarks.few_runs.replay import cold, scores, warm
from benchmarks.transfer import tables
from mutransfer.statistics import LANGUAGE_MODELS, SmoothCurve


def priors() -> dict[str, SmoothCurve | None]:
    """Return priors, each with one constant changed, and that of `posterior`."""
    base = LANGUAGE_MODELS
    skews = np.array(base.asymmetries)
    return {
        "as it is": base,
        "noise x 0.7": replace(base, noise=0.7 * base.noise),
        "noise x 1.4": replace(base, noise=1.4 * base.noise),
        "factor x 0.7": replace(base, factor=0.7 * base.factor),
        "factor x 1.4": replace(base, factor=1.4 * base.factor),
        "spread 0.4": replace(base, spread=0.4),
        "spread 0.9": replace(base, spread=0.9),
        "misfit 0.1": replace(base, misfit=0.1),
        "misfit 0.2": replace(base, misfit=0.2),
        "asymmetries - 0.2": replace(base, asymmetries=tuple(skews - 0.2)),
        "asymmetries + 0.2": replace(base, asymmetries=tuple(skews + 0.2)),
        "4 points": replace(base, points=4),
        "7 points": replace(base, points=7),
        "prior of posterior": None,
    }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    table = read(parser.parse_args().table)
    names = ("share of runs", "within .25", "within .5", "regret %, p99")
    rows = []
    for label, prior in priors().items():
        found = scores(cold(table, prior))
        ahead = scores(warm(table, smaller=True, prior=prior))
        row: dict[str, object] = {"prior": label}
        row |= {f"cold: {name}": found[name] for name in names}
        row |= {f"warm: {name}": ahead[name] for name in names}
        rows.append(row)
    note = "# Few runs under other priors\n\nMade by `sensitivity.py`; warm from smaller models."
    (Path(__file__).parent / "sensitivity.md").write_text(f"{note}\n\n{tables.markdown(rows)}\n")


if __name__ == "__main__":
    main()
