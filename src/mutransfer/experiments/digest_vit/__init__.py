"""2309.16620: the rate of a small vision transformer, used on a larger one."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ...studies import Study, log2
from ...tasks import vit
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_convolution import image_of
from .._plots import sweeps
from .._proxies import MOVED, REGRET, proxy_values

PATCHES = 4
"""Rows and columns of patches."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "axes": [{"width": 16, "depth": 1}, {"width": 32, "depth": 2}],
        "seeds": 1,
        "steps": 3,
        "lr": log2(-9, -6),
    },
    "small": {
        "axes": [{"width": 16, "depth": 2}, {"width": 32, "depth": 4}],
        "seeds": 3,
        "steps": 100,
        "lr": log2(-11, -4),
    },
    "full": {
        "axes": [{"width": 192, "depth": 6}, {"width": 384, "depth": 12}],
        "seeds": 3,
        "steps": 4000,
        "lr": log2(-14, -5),
    },
}


def transformer(width: int, depth: int, *, image: tuple[int, int, int]) -> nn.Module:
    """Return a pre-norm vision transformer for images, also for flat ones.

    Args:
        width: Size of the residual stream.
        depth: Number of blocks.
        image: Channels, height and width of an image.
    """
    channels, side, _ = image
    model = vit(width, depth, patch=side // PATCHES, side=side, channels=channels)
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, image), model)


def _measure(bench: Bench) -> Measured:
    task = bench.images()
    study = Study(
        partial(transformer, image=image_of(task)),
        rules=("sqrt-depth", "sp"),
        optimizer="adam",
        batch=32,
        task=task,
        **bench.pick(SETTINGS),
    )
    runs = bench.sweep(study)
    values = {rule: proxy_values(runs, rule) for rule in ("sqrt-depth", "sp")}
    return Measured(values=values, figure=sweeps({"ViT": runs}))


EXPERIMENT = Experiment(
    title="A vision transformer's rate for one twice as wide and deep",
    source="2309.16620, vision transformers with Adam",
    shows=(
        "A vision transformer and one twice as wide and twice as deep are trained by Adam at a "
        "grid of rates. With muP and branches times 1/sqrt(depth) the small one's best rate is the "
        "large one's as well; under standard parametrization it is too large."
    ),
    claims=(
        Claim(
            says="The best rate of the small transformer is that of the large one.",
            quantity=MOVED,
            rule="sqrt-depth",
            wrong="sp",
            expected=0.0,
            tolerance=0.25,
        ),
        Claim(
            says="So the large one loses little where it is trained at the small one's rate.",
            quantity=REGRET,
            rule="sqrt-depth",
            wrong="sp",
            expected=0.02,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=2.0,
    remark=(
        "The move of the best rate is known to about two octaves only at this scale. Branches are "
        "times 1/sqrt(depth) and Adam's rate is constant, as in this paper; Tensor Programs VI "
        "scales that rate with depth as well. Under SP the small rate costs the large network "
        "1.5%, too little for the control to fail."
    ),
)
