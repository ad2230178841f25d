"""Replay of the search on curves that were measured on a whole grid: each look costs a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.few_runs.curves import Table
from benchmarks.transfer.language_models import Curve
from mutransfer.certificates import law_prior
from mutransfer.core import MutransferError
from mutransfer.statistics import (
    LANGUAGE_MODELS,
    Refined,
    SmoothCurve,
    Start,
    average_of_laws,
    refinement,
)

WITHIN = 0.25
"""Wanted half width of the 95% interval, in octaves."""


@dataclass(frozen=True)
class Found:
    """The outcome of one search: its curve, runs and proposed rate."""

    curve: Curve
    refined: Refined
    runs: int

    @property
    def place(self) -> float:
        """Proposed log2 rate, within the grid."""
        return float(np.clip(self.refined.place, self.curve.places[0], self.curve.places[-1]))

    @property
    def error(self) -> float:
        """Distance to the optimum of the full grid, in octaves."""
        return abs(self.place - self.curve.truth()[0])

    @property
    def sd(self) -> float:
        """About the standard deviation of the place, for the law."""
        return max((self.refined.high - self.refined.low) / 4, 0.01)


def search(curve: Curve, start: Start, prior: SmoothCurve | None = LANGUAGE_MODELS) -> Found:
    """Return what `refinement` finds on a curve, one run a look."""
    looked: set[float] = set()
    while True:
        seen = np.array([place in looked for place in curve.places], dtype=bool)
        refined = refinement(
            curve.places[seen],
            curve.losses[None, seen],
            start=start,
            within=WITHIN,
            allowed=curve.places,
            prior=prior,
        )
        if not refined.proposals:
            return Found(curve, refined, int(seen.sum()))
        looked.update(refined.proposals)


def cold(table: Table, prior: SmoothCurve | None = LANGUAGE_MODELS) -> list[Found]:
    """Search every curve from the centre of its grid."""
    return [search(curve, _centre(curve), prior) for curve in table.curves]


def warm(table: Table, smaller: bool, prior: SmoothCurve | None = LANGUAGE_MODELS) -> list[Found]:
    """Search curves from the law of the optima found so far, in the order of their sizes.

    Args:
        table: The curves, in the order of their sizes.
        smaller: True to fit the law to smaller values of the first axis alone, the model's size.
        prior: The prior of a curve.
    """
    found: list[Found] = []
    law, fitted = None, 0
    for curve in table.curves:
        known = [f for f in found if not smaller or f.curve.size[0] < curve.size[0]]
        if len(known) > fitted:
            law, fitted = _law(known, table.axes), len(known)
        if law is None:
            start = _centre(curve)
        else:
            expected = law.predict(curve.size[None])
            start = Start(mean=float(expected.mean[0]), sd=float(expected.sd[0]))
        found.append(search(curve, start, prior))
    first = table.curves[0].size[0]
    return [f for f in found if f.curve.size[0] > first] if smaller else found


def _law(known: Sequence[Found], axes: Sequence[str]) -> Any:
    try:
        return average_of_laws(
            np.array([f.curve.size for f in known]),
            np.array([f.place for f in known]),
            np.array([f.sd for f in known]),
            law_prior("lr", tuple(axes)),
        )
    except MutransferError:
        # Too few optima for a law: the next curve starts at its centre.
        return None


def _centre(curve: Curve) -> Start:
    return Start(mean=float(curve.places[0] + curve.places[-1]) / 2, sd=2.0)


SEARCHES: dict[str, Callable[[Table], list[Found]]] = {
    "cold": cold,
    "warm": lambda table: warm(table, smaller=False),
    "warm, smaller models": lambda table: warm(table, smaller=True),
}
"""Searches by where they start."""


def scores(found: Sequence[Found]) -> dict[str, Any]:
    """Return share of runs, accuracy and regret of some searches."""
    errors = np.array([f.error for f in found])
    regrets = np.array([f.curve.regret(f.place) for f in found])
    truth = np.array([f.curve.truth()[0] for f in found])
    floor = np.array([f.curve.regret(x) for f, x in zip(found, truth, strict=True)])
    inside = [f.refined.low <= x <= f.refined.high for f, x in zip(found, truth, strict=True)]
    return {
        "curves": len(found),
        "share of runs": sum(f.runs for f in found) / sum(len(f.curve.places) for f in found),
        "runs": float(np.mean([f.runs for f in found])),
        "within .25": float((errors <= 0.25).mean()),
        "within .5": float((errors <= 0.5).mean()),
        "interval covers": float(np.mean(inside)),
        "regret %, median": float(np.median(regrets)),
        "regret %, p99": float(np.percentile(regrets, 99)),
        "p99 of the optimum itself": float(np.percentile(floor, 99)),
    }


def missed(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Return a row for every search that ended farther than a quarter octave off."""
    return [
        {
            "size": " ".join(f"{2.0**x:.4g}" for x in f.curve.size),
            "runs": f.runs,
            "proposed": f.place,
            "optimum": f.curve.truth()[0],
            "low": f.refined.low,
            "high": f.refined.high,
            "regret %": f.curve.regret(f.place),
        }
        for f in found
        if f.error > 0.25
    ]
