"""Tensor Programs VI, Figure 12: the best rate over depth with pre-norm."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import depth_sweep
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("depth-mup", "sqrt-depth", "sp")
"""Branches and Adam's rate times depth^-1/2; the branches alone; neither."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16], "depth": [2, 4], "lr": log2(-9, -7), "seeds": 1, "steps": 5},
    "small": {
        "width": [32],
        "depth": [8, 16, 32, 64],
        "lr": log2(-12, -4),
        "seeds": 3,
        "steps": 150,
        "batch": 32,
    },
    "full": {
        "width": [256],
        "depth": [8, 16, 32, 64, 128, 256, 512, 1024],
        "lr": log2(-22, -10),
        "seeds": 5,
        "steps": 1000,
    },
}

NETWORK = {"activation": "abs", "norm": True}

DEPTH = DRIFT.format(axis="depth")


def _measure(bench: Bench) -> Measured:
    settings = bench.pick(SETTINGS)
    runs = depth_sweep(bench, settings, rules=RULES, hyperparameters=NETWORK)
    values = {rule: {DEPTH: drift(runs, rule, "depth")} for rule in RULES}
    return Measured(values=values, figure=sweeps({"": runs}, axis="depth"))


EXPERIMENT = Experiment(
    title="The best rate over depth, with a norm in each branch",
    source="Tensor Programs VI, Figure 12",
    shows=(
        "Does a norm replace the scaling of branches? Residual networks with a norm at the start "
        "of each branch are trained by Adam. Under Depth-muP the best rate stays over depth; with "
        "the branches alone scaled, or under standard parametrization, it falls as before."
    ),
    claims=(
        Claim(
            says="With pre-norm and Depth-muP, the best rate stays over depth.",
            quantity=DEPTH,
            rule="depth-mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="With pre-norm and the branches alone scaled, the best rate falls.",
            quantity=DEPTH,
            rule="sqrt-depth",
            wrong="depth-mup",
            expected=-0.5,
            tolerance=0.25,
        ),
    ),
    measure=_measure,
    minutes=1.5,
    remark=(
        "The paper has width 256, depth 8 to 1024 and CIFAR-10; factors are 1 at depth 8. The "
        "drift under Depth-muP was -0.13 with two seeds, too; within its interval it may be none."
    ),
)
