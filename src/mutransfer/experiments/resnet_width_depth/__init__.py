"""2309.16620, Figure 1: the best rate of networks over width and depth."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._cross import cross, cross_claims
from .._models_convolution import fitting

SCALED = "sqrt-depth"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-6, -3)},
    "small": {
        "width": [8, 16, 32],
        "depth": [4, 8, 16],
        "seeds": 3,
        "steps": 80,
        "lr": log2(-10, -4),
    },
    "full": {
        "width": [32, 64, 128, 256],
        "depth": [3, 6, 12, 24],
        "seeds": 3,
        "steps": 4000,
        "lr": log2(-10, 1),
    },
}


def _measure(bench: Bench) -> Measured:
    settings, task = bench.pick(SETTINGS), bench.images()
    sgd = {"optimizer": "sgd", "momentum": 0.9}
    return cross(bench, fitting(task), SCALED, settings, task=task, **sgd)


EXPERIMENT = Experiment(
    title="The best rate of residual networks over width and depth",
    source="2309.16620, Figure 1",
    shows=(
        "Convolutional residual networks without norms are trained by SGD with momentum, at a grid "
        "of rates, over width and over depth. With muP and branches times 1/sqrt(depth) the best "
        "rate stays over both; with muP alone it falls with depth, and under standard "
        "parametrization with width, too."
    ),
    claims=cross_claims(
        SCALED,
        width="The best rate stays as width grows, under muP but not under SP.",
        depth="It stays as depth grows, with branches times 1/sqrt(depth) but not without.",
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "In 80 steps losses differ by little more than seeds do, so that the best rate over width "
        "is uncertain by half an octave; width 8 is narrow for a limit."
    ),
)
