"""Sweeps of residual networks over depth, their lowest losses and gains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..core import Estimate
from ..studies import Runs, Study
from ._bench import Bench
from ._models_residual import residual
from ._quantities import exponent

GAIN = "exponent in depth of the lowest loss"
"""Name of the quantity that says if deeper networks are better: below 0 if they are."""

SHARE = 0.1
"""Share of a run that is early, and that is late."""


def depth_sweep(
    bench: Bench,
    settings: dict[str, Any],
    name: str = "runs",
    **more: Any,
) -> Runs:
    """Train residual networks on digits with Adam, and return the record.

    Args:
        bench: The bench.
        settings: The settings of this scale: sizes, rates, seeds, steps.
        name: Name of the sweep.
        more: What else the study takes, such as rules.
    """
    arguments = {"optimizer": "adam", "task": bench.digits(), **settings, **more}
    return bench.sweep(Study(residual, **arguments), name)


def lowest(runs: Runs, rule: str, over: str = "lr") -> dict[int, float]:
    """Return the lowest mean loss at every depth where a run converged."""
    found = {}
    for size in runs.sizes(rule):
        _, losses = runs.losses(rule, size, over)
        best = float(losses.mean(0).min())
        if best < float("inf"):
            found[size["depth"]] = best
    return found


def gain(runs: Runs, rule: str) -> Estimate:
    """Return the exponent in depth of the lowest loss."""
    losses = lowest(runs, rule)
    return exponent(list(losses), list(losses.values()))


def early_and_late(runs: Runs) -> dict[str, Runs]:
    """Return records that compare by the mean loss early in training, and late."""
    return {"early": _part(runs, early=True), "late": _part(runs, early=False)}


def _part(runs: Runs, *, early: bool) -> Runs:
    rows = []
    for row in runs.rows:
        curve = row.get("curve") or []
        count = max(1, round(SHARE * len(curve)))
        part = curve[:count] if early else curve[-count:]
        known = bool(part) and row["status"] == "finished"
        rows.append({**row, "loss": float(np.mean(part)) if known else row.get("loss")})
    return replace(runs, rows=rows)
