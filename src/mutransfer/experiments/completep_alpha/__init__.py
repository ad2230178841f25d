"""CompleteP, Figure 2: the best rate over depth, by the exponent of branches."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from ...tasks import resmlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = {"alpha 0": "mup", "alpha 1/2": "completep, alpha=1/2", "alpha 1": "completep"}
"""Rules by the exponent of their branches; muP leaves branches as they are."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8], "depth": [2, 4], "lr": log2(-7, -1), "seeds": 1, "steps": 5},
    "small": {
        "width": [32],
        "depth": [4, 8, 16, 32],
        "lr": log2(-10, -4),
        "seeds": 2,
        "steps": 100,
    },
    "full": {
        "width": [256],
        "depth": [4, 8, 16, 32, 64, 128],
        "lr": log2(-14, -4),
        "seeds": 3,
        "steps": 2000,
    },
}

BEST, SIZE = DRIFT.format(axis="depth"), "size of the drift, octaves per doubling of depth"


def _size(value: Estimate) -> Estimate:
    """Return how far an optimum moves, in either direction."""
    ends = sorted((abs(value.low), abs(value.high)))
    low = 0.0 if value.low < 0 < value.high else ends[0]
    return Estimate(value=abs(value.value), low=low, high=ends[1])


def _measure(bench: Bench) -> Measured:
    study = Study(
        resmlp,
        **bench.pick(SETTINGS),
        rules=tuple(RULES.values()),
        optimizer="adamw",
        task=bench.digits(),
    )
    runs = bench.sweep(study)
    values: dict[str, dict[str, Estimate]] = {}
    for name, rule in RULES.items():
        moved = drift(runs, rule, "depth")
        values[name] = {BEST: moved, SIZE: _size(moved)}
    return Measured(values=values, figure=sweeps({"residual MLP": runs}))


EXPERIMENT = Experiment(
    title="The best rate over depth, by the exponent of branches",
    source="CompleteP (2505.01618), Figure 2",
    shows=(
        "Residual networks whose branches have two matrices are trained at depth 4 to 32, with "
        "branches times depth^-alpha and Adam's rate in them times depth^(alpha - 1). The paper's "
        "transformers keep their best rate at alpha 1 alone."
    ),
    claims=(
        Claim(
            says="With alpha 1 the best rate stays over depth; with branches left alone it falls.",
            quantity=BEST,
            rule="alpha 1",
            wrong="alpha 0",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="With alpha 1/2 the best rate moves, and with alpha 1 it does not.",
            quantity=SIZE,
            rule="alpha 1/2",
            wrong="alpha 1",
            expected=0.1,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="With alpha 1/2 the paper's rates move in transformers of depth 2 to 128 and long runs. "
    "Residual MLPs of depth 4 to 32 do not show it within 100 steps; Tensor Programs VI, too, sees "
    "it for branches of two matrices only in deep networks and late in training.",
)
