"""2309.16620: normalisation in place of branches times 1/sqrt(depth)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import Estimate
from ...studies import Runs, Study, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_convolution import fitting
from .._plots import sweeps
from .._quantities import DRIFT, drift, optima

SCALED, PLAIN = "sqrt-depth", "mup"

NORMS = {"with norms": True, "without norms": False}

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-6, -3)},
    "small": {"depth": [4, 8, 16], "seeds": 5, "steps": 100, "lr": log2(-8, -1)},
    "full": {"depth": [3, 6, 12, 24, 48], "seeds": 3, "steps": 4000, "lr": log2(-10, 1)},
}

WIDTH = {"tiny": 8, "small": 8, "full": 64}


def _quantity(norms: str) -> str:
    return f"{norms}: {DRIFT.format(axis='depth')}"


def _measure(bench: Bench) -> Measured:
    task = bench.digits(validation=0.2)
    values: dict[str, dict[str, Estimate]] = {SCALED: {}, PLAIN: {}}
    records: dict[str, Runs] = {}
    for name, norm in NORMS.items():
        study = Study(
            fitting(task, norm),
            width=[bench.pick({scale: [width] for scale, width in WIDTH.items()})[0]],
            rules=tuple(values),
            optimizer="sgd",
            momentum=0.9,
            batch=32,
            task=task,
            **bench.pick(SETTINGS),
        )
        records[name] = bench.sweep(study, name.replace(" ", "-"))
        for rule, measured in values.items():
            measured[_quantity(name)] = drift(records[name], rule, "depth")
    return Measured(
        values=values,
        figure=sweeps(records),
        remarks=(_deepest(records), _cost(records)),
    )


def _deepest(records: dict[str, Runs]) -> str:
    """Return a sentence on the deepest networks, each at its best rate."""
    parts = [
        f"{optima(runs, rule)[-1].loss:.3g} and {_accuracy(runs, rule):.1%} {name} under {rule}"
        for name, runs in records.items()
        for rule in (SCALED, PLAIN)
    ]
    return f"Lowest loss of the deepest networks, and their accuracy there: {', '.join(parts)}."


def _accuracy(runs: Runs, rule: str) -> float:
    """Return the validation accuracy of the deepest networks at their best rate."""
    size = runs.sizes(rule)[-1]
    rate = runs.best_rate(rule, size)
    found = [
        row["accuracy"]
        for row in runs.rows
        if row["rule"] == rule and runs.size_of(row) == size and row["lr"] == rate
    ]
    return float(np.mean(found)) if found else math.nan


def _cost(records: dict[str, Runs]) -> str:
    """Return a sentence on what norms cost."""
    first, second = (sum(row["seconds"] for row in runs.rows) for runs in records.values())
    return f"With norms, all runs took {first / second:.1f} times as long."


def _claim(norms: str, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=_quantity(norms),
        rule=SCALED,
        wrong=PLAIN,
        expected=0.0,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="Normalisation in place of depth scaling",
    source="2309.16620, normalisation layers (appendix)",
    shows=(
        "Convolutional residual networks of several depths are trained with and without a norm at "
        "the start of each branch, with branches times 1/sqrt(depth) and as they are. Norms keep "
        "deep networks from diverging, and in the paper the best rate moves with depth all the "
        "same unless branches are scaled."
    ),
    claims=(
        _claim("with norms", "With norms, too, the best rate stays only if branches are scaled."),
        _claim("without norms", "Without norms the best rate stays if branches are scaled."),
    ),
    measure=_measure,
    minutes=1.5,
    remark=(
        "With norms the best rate moves little over depth 4 to 16, scaled or not: both intervals "
        "include 0. Norms do replace the scaling here: at its own best rate the deepest network "
        "without scaled branches is the most accurate of all, at twice the time."
    ),
)
