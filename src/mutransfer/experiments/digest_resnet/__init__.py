"""2309.16620: a rate found on a small ResNet, used on one twice as wide and deep."""

from __future__ import annotations

from typing import Any

from ...studies import log2
from .._bench import Bench, Experiment, Measured
from .._models_convolution import fitting
from .._proxies import proxy, proxy_claims

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "axes": [{"width": 8, "depth": 2}, {"width": 16, "depth": 4}],
        "seeds": 1,
        "steps": 3,
        "lr": log2(-6, -3),
    },
    "small": {
        "axes": [{"width": 12, "depth": 4}, {"width": 24, "depth": 8}],
        "seeds": 4,
        "steps": 100,
        "lr": log2(-10, -4),
    },
    "full": {
        "axes": [{"width": 128, "depth": 6}, {"width": 256, "depth": 12}],
        "seeds": 3,
        "steps": 4000,
        "lr": log2(-10, 1),
    },
}


def _measure(bench: Bench) -> Measured:
    settings, task = bench.pick(SETTINGS), bench.images()
    sgd = {"optimizer": "sgd", "momentum": 0.9}
    return proxy(bench, "ResNet", fitting(task), settings, task=task, **sgd)


EXPERIMENT = Experiment(
    title="A ResNet's rate for one twice as wide and deep",
    source="2309.16620, ResNet of depth 6 and width 128, then depth 12 and width 256",
    shows=(
        "A convolutional residual network and one twice as wide and twice as deep are trained at a "
        "grid of rates. With muP and branches times 1/sqrt(depth) the small one's best rate is the "
        "large one's as well; under standard parametrization it is too large."
    ),
    claims=proxy_claims("the small network", "the large network"),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Over the seeds the best rate is uncertain by an octave, as losses are flat over four "
        "octaves in 100 steps; the loss at the small network's rate is the firmer measure."
    ),
)
