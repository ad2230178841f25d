"""Tensor Programs VI, Figure 13: the best block multiplier over depth."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import depth_sweep
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("depth-mup", "mup")
"""Branches and Adam's rate times depth^-1/2, and neither: at one width, muP is standard."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16], "depth": [2, 4], "branch": [0.25, 2, 16, 128], "seeds": 1, "steps": 5},
    "small": {
        "width": [32],
        "depth": [8, 16, 32, 64],
        "branch": [2 ** (power / 2) for power in range(-6, 3)],
        "seeds": 2,
        "steps": 150,
        "batch": 32,
    },
    "full": {
        "width": [256],
        "depth": [8, 16, 32, 64, 128, 256, 512, 1024],
        "branch": log2(-6, 2),
        "seeds": 5,
        "steps": 1000,
    },
}

RATE = 2.0**-9
"""Adam's rate at base depth; the paper's is 1e-3."""

QUANTITY = DRIFT.format(axis="depth").replace("rate", "multiplier")


def _measure(bench: Bench) -> Measured:
    runs = depth_sweep(bench, bench.pick(SETTINGS), rules=RULES, lr=RATE)
    values = {rule: {QUANTITY: drift(runs, rule, "depth", "branch")} for rule in RULES}
    return Measured(values=values, figure=sweeps({"": runs}, axis="depth"))


EXPERIMENT = Experiment(
    title="The best block multiplier over depth",
    source="Tensor Programs VI, Figure 13",
    shows=(
        "Residual networks of several depths are trained at one learning rate and a grid of block "
        "multipliers, constants that scale every residual branch. Under Depth-muP the best "
        "multiplier stays over depth; without scaling in depth (muP in width alone) it falls."
    ),
    claims=(
        Claim(
            says="Under Depth-muP the best block multiplier stays over depth.",
            quantity=QUANTITY,
            rule="depth-mup",
            wrong="mup",
            expected=0.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark="The paper has width 256, depth 8 to 1024 and CIFAR-10; factors are 1 at depth 8.",
)
