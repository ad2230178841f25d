"""2309.16620: the rate of a small vision transformer, used on a larger one."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ...studies import log2
from ...tasks import vit
from .._bench import Bench, Experiment, Measured
from .._models_convolution import image_of
from .._proxies import proxy, proxy_claims

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
    settings, task = bench.pick(SETTINGS), bench.images()
    model = partial(transformer, image=image_of(task))
    return proxy(bench, "ViT", model, settings, task=task, optimizer="adam")


EXPERIMENT = Experiment(
    title="A vision transformer's rate for one twice as wide and deep",
    source="2309.16620, vision transformers with Adam",
    shows=(
        "A vision transformer and one twice as wide and twice as deep are trained by Adam at a "
        "grid of rates. With muP and branches times 1/sqrt(depth) the small one's best rate is the "
        "large one's as well; under standard parametrization it is too large."
    ),
    claims=proxy_claims("the small transformer", "the large one"),
    measure=_measure,
    minutes=1.5,
    remark=(
        "The move of the best rate is known to about two octaves only at this scale. Branches are "
        "times 1/sqrt(depth) and Adam's rate is constant, as in this paper; Tensor Programs VI "
        "scales that rate with depth as well. Under SP the small rate costs the large network "
        "1.7%, too little for the control to fail."
    ),
)
