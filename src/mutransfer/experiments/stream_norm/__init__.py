"""Tensor Programs VI, Claim 7.1: the size of the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from ... import rules
from ...core import Estimate
from ...statistics import Array
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_residual import residual, stream, train_branches
from .._plots import Plot, Series, plot
from .._quantities import exponent

SCHEMES: dict[str, tuple[Callable[[int], rules.Residual], float]] = {
    "1": (partial(rules.branch_multipliers, alpha=0.0), 0.0),
    "1/sqrt(depth)": (partial(rules.branch_multipliers, alpha=0.5), -0.5),
    "1/depth": (partial(rules.branch_multipliers, alpha=1.0), 0.0),
    "1, pre-norm": (partial(rules.branch_multipliers, alpha=0.0), 0.0),
    "running mean, pre-norm": (rules.running_mean, -0.5),
}
"""Factors of branches, and the exponent of Adam's rate in depth that belongs to them.

A running mean keeps the scale of branches that put out unit scale, so that they need a norm.
"""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "depth": [2, 4, 8], "seeds": 1, "steps": 1},
    "small": {"width": 64, "depth": [4, 8, 16, 32, 64], "seeds": 4, "steps": 20},
    "full": {"width": 256, "depth": [8, 16, 32, 64, 128, 256, 512, 1024], "seeds": 5, "steps": 100},
}

RATE = 2.0**-10
"""Adam's rate at depth 1."""

START, MOVED = "exponent in depth of the last features", "exponent in depth of their change"


def _sizes(bench: Bench, scheme: str, depth: int) -> tuple[Array, float]:
    """Return the RMS of all layers at the start, and of the last one's change."""
    chosen, task = bench.pick(SETTINGS), bench.digits()
    make, power = SCHEMES[scheme]
    sizes, changes = [], []
    for seed in range(chosen["seeds"]):
        torch.manual_seed(seed)
        norm = "pre-norm" in scheme
        model = residual(chosen["width"], depth, norm=norm, scheme=make(depth))
        before = stream(model, task)
        train_branches(model, task, RATE * depth**power, steps=chosen["steps"], seed=seed)
        after = stream(model, task)
        sizes.append((before**2).mean((1, 2)))
        changes.append(((after[-1] - before[-1]) ** 2).mean())
    return np.sqrt(np.mean(sizes, axis=0)), float(np.sqrt(np.mean(changes)))


def _measure(bench: Bench) -> Measured:
    depths = bench.pick(SETTINGS)["depth"]
    values: dict[str, dict[str, Estimate]] = {}
    deepest, last, moved = [], [], []
    for scheme in SCHEMES:
        found = [_sizes(bench, scheme, depth) for depth in depths]
        ends = [float(sizes[-1]) for sizes, _ in found]
        changes = [change for _, change in found]
        values[scheme] = {START: exponent(depths, ends), MOVED: exponent(depths, changes)}
        layers = [number / depths[-1] for number in range(depths[-1] + 1)]
        deepest.append(Series(name=scheme, x=layers, y=found[-1][0].tolist()))
        last.append(Series(name=scheme, x=depths, y=ends))
        moved.append(Series(name=scheme, x=depths, y=changes))
    y = "RMS of features"
    panels = [
        Plot(title=f"depth {depths[-1]}", x="layer / depth", y=y, lines=deepest, log="y"),
        Plot(title="last layer, at the start", x="depth", y=y, lines=last, log="xy"),
        Plot(title="its change in training", x="depth", y="RMS of change", lines=moved, log="xy"),
    ]
    return Measured(values=values, figure=plot(panels))


def _claims(scheme: str) -> tuple[Claim, Claim]:
    wrong = "1, pre-norm" if "pre-norm" in scheme else "1"
    branches = "a running mean and pre-norm" if wrong != "1" else f"branches times {scheme}"
    says = {
        START: f"With {branches}, features have one size at the start at every depth.",
        MOVED: f"With {branches}, training moves features alike at every depth.",
    }
    start, moved = (
        Claim(says=text, quantity=name, rule=scheme, wrong=wrong, expected=0.0, tolerance=0.15)
        for name, text in says.items()
    )
    return start, moved


EXPERIMENT = Experiment(
    title="The norm of the residual stream over depth",
    source="Tensor Programs VI, Claims 7.1 and 7.2",
    shows=(
        "Does the norm of the features grow from branch to branch? Branches are multiplied by 1, "
        "1/sqrt(depth) or 1/depth, or stream and branch are averaged (running mean). Measured are "
        "the RMS of every layer at the start and how far Adam moves the last one in a few steps, "
        "with the rate that belongs to each factor."
    ),
    claims=(
        *_claims("1/sqrt(depth)"),
        *_claims("1/depth"),
        *_claims("running mean, pre-norm"),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The paper derives the first four claims; the running mean is not in it.",
)
