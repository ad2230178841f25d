"""Tensor Programs VI, Figure 7: rate and multiplier of branches of two matrices."""

from __future__ import annotations

from typing import Any

from ...certificates import Surface, surface
from ...core import Estimate
from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import depth_sweep
from .._heatmaps import heatmaps
from .._quantities import slope

RULE = "depth-mup"

BLOCKS = {"block depth 2": 2, "block depth 1": 1}
"""Matrices of a branch: the paper's network, and the one whose best values stay."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": [16],
        "depth": [2, 4],
        "lr": log2(-8, -5),
        "branch": log2(0, 2),
        "seeds": 1,
        "steps": 5,
    },
    "small": {
        "width": [32],
        "depth": [2, 8, 64],
        "lr": log2(-9, -1),
        "branch": log2(-4, 4),
        "seeds": 1,
        "steps": 200,
        "batch": 32,
    },
    "full": {
        "width": [256],
        "depth": [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
        "lr": log2(-17, -10),
        "branch": log2(0, 14),
        "seeds": 5,
        "steps": 10000,
    },
}

RIDGE = "slope of the ridge, octaves of the multiplier for one of the rate"
MULTIPLIER = "drift of the best multiplier, octaves per doubling of depth"
RATE = "drift of the best rate, octaves per doubling of depth"

SHALLOW, DEEP = "{name}, shallowest", "{name}, deepest"


def _surfaces(bench: Bench, name: str) -> list[Surface]:
    """Return the loss over rate and multiplier at every depth."""
    network = {"matrices": BLOCKS[name], "activation": "abs", "norm": True}
    runs = depth_sweep(
        bench,
        bench.pick(SETTINGS),
        name.replace(" ", "-"),
        rules=(RULE,),
        hyperparameters=network,
    )
    return [surface(runs, RULE, size, ("lr", "branch")) for size in runs.sizes(RULE)]


def _drifts(surfaces: list[Surface]) -> dict[str, Estimate]:
    """Return how far the lowest point moves over depth, along each axis."""
    depths = [each.size["depth"] for each in surfaces]
    return {
        quantity: slope(depths, [each.optimum[at].value for each in surfaces])
        for at, quantity in enumerate((RATE, MULTIPLIER))
    }


def _measure(bench: Bench) -> Measured:
    found = {name: _surfaces(bench, name) for name in BLOCKS}
    values: dict[str, dict[str, Estimate]] = {name: _drifts(each) for name, each in found.items()}
    for name, surfaces in found.items():
        values[SHALLOW.format(name=name)] = {RIDGE: surfaces[0].ridge}
        values[DEEP.format(name=name)] = {RIDGE: surfaces[-1].ridge}
    return Measured(values=values, figure=heatmaps(found))


EXPERIMENT = Experiment(
    title="Rate and multiplier of branches with two matrices",
    source="Tensor Programs VI, Figure 7",
    shows=(
        "Residual networks with norms, absolute values and two matrices a branch are swept over "
        "learning rate and block multiplier together under Depth-muP. In the paper the points of "
        "nearly equal loss form a ridge of slope -2 in shallow networks, as both matrices of a "
        "branch learn together, and of slope -1 in deep ones, where they no longer do; the lowest "
        "point moves to smaller rates and larger multipliers. With one matrix a branch the loss "
        "depends on the product of the two at every depth."
    ),
    claims=(
        Claim(
            says="In shallow networks with two matrices a branch the ridge has slope -2.",
            quantity=RIDGE,
            rule=SHALLOW.format(name="block depth 2"),
            wrong=SHALLOW.format(name="block depth 1"),
            expected=-2.0,
            tolerance=0.4,
        ),
        Claim(
            says="In deep ones it has slope -1.",
            quantity=RIDGE,
            rule=DEEP.format(name="block depth 2"),
            wrong=SHALLOW.format(name="block depth 2"),
            expected=-1.0,
            tolerance=0.4,
        ),
        Claim(
            says="The best multiplier grows with depth.",
            quantity=MULTIPLIER,
            rule="block depth 2",
            wrong="block depth 1",
            expected=0.1,
            sense="at least",
        ),
        Claim(
            says="The best rate falls with depth.",
            quantity=RATE,
            rule="block depth 2",
            wrong="block depth 1",
            expected=-0.1,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=2.5,
    remark=(
        "The paper trains 39,000 steps on CIFAR-10 at width 256 and depth 2 to 1024; here depth "
        "ends at 64. In a first run it ended at 32, where the slope was still -1.5. The slope is "
        "that of the flattest direction of a quadratic surface at its lowest point. Along so flat "
        "a ridge the lowest point itself is found badly, and its drift is hardly known."
    ),
)
