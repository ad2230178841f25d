"""Few runs instead of the grid, on the two studies of the demo.

Each study is swept as a grid, extended where an optimum lies at its edge, and by refinement with a
part of the grid's member-steps as its budget:

    python benchmarks/few_runs_studies/run.py [--small] [--share 0.333] [--json FILE]
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from mutransfer.certificates import Optimum
from mutransfer.core import about, text
from mutransfer.experiments import studies
from mutransfer.studies import Budget

EXTEND = 4
SMALL = {"width": {"width": [32, 64, 128]}, "depth": {"depth": [4, 8, 16]}}


def member_steps(runs: mt.Runs) -> int:
    """Return the optimizer steps of all runs, up to where each ended."""
    ends = (row.get("stopped_at") or row.get("diverged_at") or row["steps"] for row in runs.rows)
    return sum(ends)


def optima(runs: mt.Runs) -> dict[tuple[str, str], Optimum]:
    """Return the optimum of every rule and size, also of rules that are refused."""
    found = mt.transfer(runs)
    return {(rule, str(best.size)): best for rule in runs.rules for best in found[rule].optima}


def measured(name: str, study: mt.Study, share: float, within: float, folder: Path) -> list[Any]:
    """Return the rows of one study: optima of the grid and of the refinement."""
    times, records = [], []
    budget: Any = {}
    for kind in ("grid", "refine"):
        start = time.monotonic()
        arguments = {"extend": EXTEND} if kind == "grid" else {"search": kind, "within": within}
        records.append(mt.sweep(study, folder / f"{name}-{kind}", **arguments, **budget))
        times.append(time.monotonic() - start)
        budget = {"budget": Budget(share * member_steps(records[0]), "steps")}
    steps = [member_steps(runs) for runs in records]
    print(
        f"\n{name}: grid {len(records[0].rows)} runs, {steps[0]:,} member-steps, {times[0]:.0f} s; "
        f"refine {len(records[1].rows)} runs, {steps[1]:,} member-steps, {times[1]:.0f} s; "
        f"ratio {steps[1] / steps[0]:.3f}\n"
    )
    print("| rule | size | grid | refine | inside the grid's interval |\n|---|---|---|---|---|")
    grid, refined = map(optima, records)
    rows = []
    for key, best in grid.items():
        other = refined.get(key)
        is_same = other is not None and best.low <= other.position <= best.high
        cells = [*key, shown(best), "" if other is None else shown(other), "yes" if is_same else ""]
        print(f"| {' | '.join(cells)} |")
        row = {"study": name, "rule": key[0], "size": key[1], "same": is_same}
        row |= {"grid": best.to_json(), "refine": other.to_json() if other else None}
        rows.append(row)
    totals = {"study": name, "runs": [len(runs.rows) for runs in records]}
    return [*rows, totals | {"member_steps": steps, "seconds": times}]


def shown(best: Optimum) -> str:
    """Return an optimum with its interval."""
    return f"{best.position:.2f} [{best.low:.2f}, {best.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="three sizes of each study")
    parser.add_argument("--share", type=float, default=1 / 3, help="budget, of the grid's steps")
    parser.add_argument("--within", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the records; a new one by default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.out or Path(tempfile.mkdtemp())
    rows: list[Mapping[str, Any]] = []
    for name, study in studies(args.seed).items():
        wanted = dataclasses.replace(study, **SMALL[name]) if args.small else study
        rows += measured(name, wanted, args.share, args.within, folder)
    if args.json:
        options = {"small": args.small, "share": args.share, "within": args.within}
        args.json.write_text(text({"about": about(), "options": options, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
