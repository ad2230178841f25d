"""Coverage of the errors of sampled limits, against limits of many more samples.

Every case is solved many times with other seeds. Reported is the share of calls and steps in which
the 95% interval, 1.96 errors to both sides, holds the truth:

    python benchmarks/limits/coverage.py [--calls 100] [--json FILE] [--only abs]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer import limits
from mutransfer.core import about

Array = np.ndarray[Any, np.dtype[np.float64]]
RATES = {"tanh": 0.25, "relu": 0.2, "abs": 0.1}
DEPTHS = (1, 2, 4)
ACCURACY = 0.02
NORMAL = 1.96
TRUTHS, TRUTH_FACTOR, TRUTH_SEED = 6, 8, 1_000_000


@dataclass(frozen=True)
class Case:
    """One problem and depth."""

    alpha: float
    activation: str
    depth: float
    block: str = "pre"

    @property
    def problem(self) -> limits.Problem:
        """Two digits, five steps."""
        return limits.problem_of(
            "digits",
            activation=self.activation,
            alpha=self.alpha,
            block=self.block,
            lr=RATES[self.activation],
            examples=2,
            steps=5,
        )

    def __str__(self) -> str:
        return f"alpha {self.alpha:g}, {self.activation} {self.block}, depth {self.depth:g}"


def cases(only: str) -> list[Case]:
    """Return all cases; those of one activation if it is named."""
    plain = [Case(*each) for each in product((0.5, 1.0), ("abs", "relu", "tanh"), DEPTHS)]
    more = [
        Case(0.5, "abs", 2, "post"),
        Case(0.75, "relu", math.inf),
        Case(1.0, "abs", math.inf),
        Case(0.5, "tanh", math.inf),
        Case(0.5, "abs", math.inf),
    ]
    return [case for case in (*plain, *more) if only in str(case)]


def truth(case: Case) -> tuple[Array, Array]:
    """Return losses of many samples, and their standard errors.

    At infinite depth stacks are not refined, so its error is the samples' alone.
    """
    least = limits.nonlinear(case.problem, case.depth, accuracy=1.0).samples // 2
    calls = [
        limits.nonlinear(
            case.problem,
            case.depth,
            accuracy=1e-9,
            seed=TRUTH_SEED + seed,
            samples=TRUTH_FACTOR * least,
        )
        for seed in range(TRUTHS)
    ]
    losses = np.array([call.losses for call in calls])
    return losses.mean(0), losses.std(0, ddof=1) / len(losses) ** 0.5


def measured(case: Case, calls: int, offset: int) -> dict[str, Any]:
    """Return the coverage of one case, over steps and calls, and of single calls."""
    start = time.perf_counter()
    exact, uncertain = truth(case)
    given = [
        limits.nonlinear(case.problem, case.depth, accuracy=ACCURACY, seed=offset + seed)
        for seed in range(calls)
    ]
    away = np.array([call.losses for call in given])[:, 1:] - exact[1:]
    bars = NORMAL * np.array([call.losses_error for call in given])[:, 1:]
    inside = np.abs(away) <= bars
    mean_bars = np.array([limit.losses_error for limit in given])[:, 1:]
    return {
        "case": str(case),
        "calls": calls,
        "coverage": float(inside.mean()),
        "lowest step": float(inside.mean(0).min()),
        "final loss": float(inside[:, -1].mean()),
        "without the t factor and bias": float((np.abs(away) <= bars / 1.2).mean()),
        "bias over error": float(np.abs(away.mean(0) / mean_bars.mean(0)).max()),
        "truth's error over error": float((uncertain[1:] / mean_bars.mean(0)).max()),
        "reached": float(np.median([call.reached for call in given])),
        "samples": float(np.median([call.samples for call in given])),
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Measure all cases, print them, and record them where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--offset", type=int, default=0, help="first seed of the calls")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument(
        "--json", type=Path, help="file to write the figures to; cases in it are kept"
    )
    arguments = parser.parse_args()
    file: Path | None = arguments.json
    rows = json.loads(file.read_text())["cases"] if file is not None and file.exists() else []
    known = {row["case"] for row in rows}
    for case in cases(arguments.only):
        if str(case) in known:
            continue
        rows.append(measured(case, arguments.calls, arguments.offset))
        print(
            {k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True
        )
        if file is not None:
            whole = {"about": about(), "accuracy": ACCURACY, "cases": rows}
            file.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
