"""Graph networks: the best rate over width and over rounds of messages."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._cross import cross, cross_claims
from ._models import graph_network

SCALED = "depth-mup"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-7, -4)},
    "small": {
        "width": [16, 32, 64],
        "depth": [4, 8, 16],
        "seeds": 2,
        "steps": 100,
        "lr": log2(-9, -2),
    },
    "full": {
        "width": [64, 128, 256, 512],
        "depth": [4, 8, 16, 32],
        "seeds": 5,
        "steps": 2000,
        "lr": log2(-13, -2),
    },
}


def _measure(bench: Bench) -> Measured:
    settings, task = bench.pick(SETTINGS), bench.digits()
    return cross(bench, graph_network, SCALED, settings, optimizer="adam", task=task)


EXPERIMENT = Experiment(
    title="A graph network's rate over width and depth",
    source="2309.16620 and Tensor Programs VI, on residual messages in a graph",
    shows=(
        "Digits are graphs of patches, on which residual rounds of messages are trained by Adam. "
        "The papers' rules know matrices and residual adds, whatever is between them: with muP and "
        "branches times 1/sqrt(depth) the best rate stays over width and over rounds; with muP "
        "alone it moves with rounds, under SP with width, too."
    ),
    claims=cross_claims(
        SCALED,
        width="Over width the best rate stays under muP, and moves under SP.",
        depth="Over rounds it stays if branches are scaled, and moves if not.",
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Where the activation is last in a branch, its mean adds up over rounds and the best rate "
        "rises by 0.2 octaves per doubling of depth; so the matrix is last here, as in 2309.16620."
    ),
)
