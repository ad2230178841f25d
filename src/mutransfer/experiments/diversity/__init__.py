"""Tensor Programs VI, Figures 17 to 19: the difference of neighbouring layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...core import Estimate
from ...limits import feature_diversity
from ...rules import branch_multipliers
from ...statistics import Array
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_residual import residual, stream, train_branches
from .._plots import Plot, Series, plot
from .._quantities import mean

RULES = {"depth-mup": 0.5, "neural ODE": 1.0}
"""Exponent alpha of the branches; Adam's rate has the exponent 1 - alpha."""

ACTIVATIONS = ("relu", "abs")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "depth": [16, 32], "seeds": 1, "steps": 2},
    "small": {"width": 32, "depth": [16, 64, 256], "seeds": 2, "steps": 150},
    "full": {"width": 256, "depth": [256, 512, 1024, 2048, 4096, 8192], "seeds": 5, "steps": 1000},
}

RATE, BASE = 2e-3, 8
"""Adam's rate, and the depth at which branches have the factor 1, as in the paper."""


def _streams(bench: Bench, activation: str, alpha: float, depth: int) -> list[Array]:
    """Return the streams of trained networks."""
    chosen, task = bench.pick(SETTINGS), bench.digits()
    scheme = branch_multipliers(depth, alpha, constant=BASE**alpha)
    rate = RATE * (depth / BASE) ** (alpha - 1)
    found = []
    for seed in range(chosen["seeds"]):
        torch.manual_seed(seed)
        model = residual(chosen["width"], depth, activation=activation, scheme=scheme)
        train_branches(model, task, rate, steps=chosen["steps"], seed=seed)
        found.append(stream(model, task, 64))
    return found


def _quantity(activation: str) -> str:
    return f"{activation}: exponent of the difference of layers, deepest networks"


def _measure(bench: Bench) -> Measured:
    depths = bench.pick(SETTINGS)["depth"]
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in RULES}
    curves = {activation: list[Series]() for activation in ACTIVATIONS}
    trends = []
    for activation in ACTIVATIONS:
        for rule, alpha in RULES.items():
            means = []
            for depth in depths:
                streams = _streams(bench, activation, alpha, depth)
                slopes = [1 - feature_diversity(each) for each in streams]
                means.append(float(np.mean(slopes)))
                curves[activation].append(_curve(f"{rule}, depth {depth}", streams[0]))
            values[rule][_quantity(activation)] = mean(slopes)
            trends.append(Series(name=f"{rule}, {activation}", x=depths, y=means))
    panels = [
        Plot(title=name, x="share of depth", y="difference", lines=lines, log="xy")
        for name, lines in curves.items()
    ]
    trend = Plot(title="exponent", x="depth", y="exponent after training", lines=trends, log="x")
    return Measured(values=values, figure=plot([*panels, trend]))


def _curve(name: str, features: Array) -> Series:
    """Return the mean difference of layers by distance, 1 at depth / 8."""
    depth = len(features) - 1
    shares = [share for share in (1 / 64, 1 / 32, 1 / 16, 1 / 8) if share * depth >= 1]
    gaps = [round(share * depth) for share in shares]
    sizes = [np.sqrt(((features[g:] - features[:-g]) ** 2).mean(-1)).mean() for g in gaps]
    return Series(name=name, x=shares, y=[float(size / sizes[-1]) for size in sizes])


def _claims(activation: str) -> tuple[Claim, Claim]:
    quantity = _quantity(activation)
    diverse = Claim(
        says=f"With 1/sqrt(depth), {activation} layers a share eps apart differ by eps^(1/2).",
        quantity=quantity,
        rule="depth-mup",
        wrong="neural ODE",
        expected=0.5,
        tolerance=0.1,
    )
    redundant = Claim(
        says=f"With 1/depth, {activation} layers become redundant: they differ by eps.",
        quantity=quantity,
        rule="neural ODE",
        wrong="depth-mup",
        expected=1.0,
        tolerance=0.2,
    )
    return diverse, redundant


EXPERIMENT = Experiment(
    title="Feature diversity: how far neighbouring layers differ",
    source="Tensor Programs VI, Figures 17 to 19",
    shows=(
        "Residual networks are trained with Adam, and features of layers a share eps of the depth "
        "apart are compared. With branches times 1/sqrt(depth) they differ by eps^(1/2), as a "
        "random walk does, at every depth. With 1/depth (neural ODE) the exponent rises to 1 as "
        "networks deepen: neighbouring layers repeat each other."
    ),
    claims=tuple(claim for name in ACTIVATIONS for claim in _claims(name)),
    measure=_measure,
    minutes=2.5,
    remark=(
        "The paper has width 256, depth 256 to 8192 and 100 to 1000 steps on CIFAR-10. Before "
        "training every rule has the exponent 1/2, and the trend with depth is slow."
    ),
)
