"""Sweeps with a budget in time: how long each takes as a share of its budget.

python benchmarks/budget/run.py [--budget 20s] [--json FILE]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from mutransfer.core import about, text
from mutransfer.studies import Budget, fit
from mutransfer.tasks import mlp, resmlp

SHARED: dict[str, Any] = {"optimizer": "adam", "rules": ["sp", "default"], "seeds": 3}
STUDIES = {
    "width": mt.Study(
        mlp, width=[16, 32, 64, 128], depth=[2], lr=mt.log2(-9, -3), steps=200, **SHARED
    ),
    "depth": mt.Study(
        resmlp, width=[32], depth=[2, 4, 8, 16], lr=mt.log2(-9, -4), steps=100, **SHARED
    ),
}


def measured(name: str, search: str | None, budget: Budget, folder: Path) -> dict[str, Any]:
    """Return what was proposed for one study, and the time that it took."""
    start = time.monotonic()
    proposal = fit(STUDIES[name], budget, search=search)
    proposed = time.monotonic()
    runs = mt.sweep(STUDIES[name], folder / f"{name}-{search}", budget=proposal)
    end = time.monotonic()
    return {
        "study": name,
        "asked": proposal.asked_cost,
        "search": proposal.search,
        "runs": len(runs.rows),
        "estimated": proposal.cost,
        "measuring": proposed - start,
        "training": sum(row["seconds"] for row in runs.rows),
        "sweep": end - proposed,
    }


def main() -> None:
    """Run each study with each search and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="20s")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    budget, rows = Budget.parse(arguments.budget), []
    print("| study | asked | search | runs | estimated | measuring | training | sweep |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        # What torch loads with its first step is no part of a sweep's pace.
        mt.sweep(mt.Study(mlp, width=[8], depth=[2], lr=[0.1], steps=2), Path(folder) / "first")
        for name in STUDIES:
            for search in ("grid", "refine"):
                rows.append(measured(name, search, budget, Path(folder)))
                cells = (
                    f"{v:.1f} s" if isinstance(v, float) else str(v) for v in rows[-1].values()
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    if arguments.json is not None:
        threads = {"threads": torch.get_num_threads(), "budget": budget.to_json()}
        arguments.json.write_text(text({"about": about() | threads, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
