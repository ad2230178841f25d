"""Tensor Programs VI, Figure 11: branches times 1/depth."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import GAIN, depth_sweep, gain
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("depth-mup", "completep")
"""Branches times depth^-1/2 or depth^-1, Adam's rate times depth^-1/2 or constant."""

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
        "lr": log2(-13, -6),
        "seeds": 5,
        "steps": 1000,
    },
}

DEPTH = DRIFT.format(axis="depth")


def _measure(bench: Bench) -> Measured:
    network = {"frozen": False}
    runs = depth_sweep(bench, bench.pick(SETTINGS), rules=RULES, hyperparameters=network)
    values = {rule: {DEPTH: drift(runs, rule, "depth"), GAIN: gain(runs, rule)} for rule in RULES}
    return Measured(values=values, figure=sweeps({"": runs}, axis="depth"))


EXPERIMENT = Experiment(
    title="Neural ODE: branches times 1/depth",
    source="Tensor Programs VI, Figure 11",
    shows=(
        "Residual networks with branches of one matrix are trained by Adam with branches times "
        "1/depth and a constant rate (neural ODE), and under Depth-muP. In the paper both keep the "
        "best rate early in training, but under Depth-muP deeper networks are better, and with "
        "1/depth they are not: their layers repeat each other."
    ),
    claims=(
        Claim(
            says="With branches times 1/depth, deeper networks are no better.",
            quantity=GAIN,
            rule="completep",
            wrong="depth-mup",
            expected=0.0,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "The paper has width 256, depth 2 to 512 and 39,000 steps on CIFAR-10; here depth begins "
        "at 8. Input and readout are trained, the readout from zero: with both frozen neither "
        "network gained from depth (150 steps, width 32)."
    ),
)
