"""Tensor Programs VI, Figure 2: the activation before the matrix of a branch."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import GAIN, depth_sweep, gain
from .._plots import sweeps
from .._quantities import DRIFT, drift

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16], "depth": [2, 4], "lr": log2(-9, -7), "seeds": 1, "steps": 5},
    "small": {
        "width": [48],
        "depth": [8, 16, 32, 64],
        "lr": log2(-10, -6),
        "seeds": 2,
        "steps": 250,
        "batch": 64,
    },
    "full": {
        "width": [256],
        "depth": [8, 16, 32, 64, 128, 256, 512],
        "lr": log2(-16, -6),
        "seeds": 5,
        "steps": 1000,
    },
}

NETWORKS = {"pre": ("depth-mup", "sp"), "post": ("depth-mup",)}
"""Places of the activation, with the rules that are run."""

DEPTH = DRIFT.format(axis="depth")


def _measure(bench: Bench) -> Measured:
    settings = bench.pick(SETTINGS)
    records, values = {}, {}
    for place, rules in NETWORKS.items():
        network: dict[str, Any] = {
            "hyperparameters": {"place": place, "frozen": False},
            "rules": rules,
        }
        records[place] = runs = depth_sweep(bench, settings, place, **network)
        for rule in rules:
            values[f"{place}, {rule}"] = {
                DEPTH: drift(runs, rule, "depth"),
                GAIN: gain(runs, rule),
            }
    return Measured(values=values, figure=sweeps(records, axis="depth"))


EXPERIMENT = Experiment(
    title="Branches with the activation before the matrix",
    source="Tensor Programs VI, Figure 2",
    shows=(
        "Branches W phi(x), with the activation before the matrix, are compared with phi(W x). "
        "In the paper Depth-muP keeps the best rate of both. But beyond 8 branches networks with "
        "the activation before the matrix gain nothing, as gradients of their layers are alike, "
        "while the others become better."
    ),
    claims=(
        Claim(
            says="With the activation before the matrix, too, Depth-muP keeps the best rate.",
            quantity=DEPTH,
            rule="pre, depth-mup",
            wrong="pre, sp",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="With the activation before the matrix, networks beyond depth 8 are no better.",
            quantity=GAIN,
            rule="pre, depth-mup",
            wrong="post, depth-mup",
            expected=0.0,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.5,
    remark=(
        "The paper has width 256, depth 8 to 1024 and 39,000 steps on CIFAR-10. Input and readout "
        "are trained, the readout from zero: with both frozen neither network gained from depth "
        "(150 steps, width 32)."
    ),
)
