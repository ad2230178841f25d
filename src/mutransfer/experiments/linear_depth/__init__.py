"""Tensor Programs VI, Figure 9: the limit of infinite width converges with depth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...core import Estimate
from ...statistics import Array
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_linear import LAYERS, limit_sizes, linear_network
from .._plots import Plot, Series, plot
from .._quantities import exponent

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": [4, 8, 16], "examples": 2, "steps": 3},
    "small": {"depth": [8, 16, 32, 64, 128], "examples": 4, "steps": 10},
    "full": {"depth": [16, 32, 64, 128, 256, 512], "examples": 10, "steps": 10},
}

RATE = 0.2
"""Learning rate, at which ten steps change features by a good part of their size."""

RULES = {"constant rate": 0.0, "rate times depth^-1/2": -0.5}
"""Exponent of SGD's rate in depth: the first is Depth-muP's, the second is Adam's."""

QUANTITY = "exponent in depth of the error of features"


def _measure(bench: Bench) -> Measured:
    chosen = bench.pick(SETTINGS)
    depths = chosen["depth"]
    bench.digits()
    problem = linear_network(chosen["examples"], chosen["steps"], lr=RATE)
    limit = limit_sizes(problem, math.inf)
    values: dict[str, dict[str, Estimate]] = {}
    lines, drawn = [], []
    for rule, power in RULES.items():
        scaled = [replace(problem, lr=RATE * (depth / depths[0]) ** power) for depth in depths]
        found = [limit_sizes(each, depth) for each, depth in zip(scaled, depths, strict=True)]
        errors = [float(np.sqrt(((each - limit) ** 2).mean())) for each in found]
        values[rule] = {QUANTITY: exponent(depths, errors)}
        lines.append(Series(name=rule, x=depths, y=errors))
        drawn.append(_over_depth(rule, depths, found, limit))
    law = [lines[0].y[0] * depths[0] / depth for depth in depths]
    lines.append(Series(name="1/depth", x=depths, y=law, style="dashed"))
    drawn.append(
        Plot(title="error against infinite depth", x="depth", y="RMS error", lines=lines, log="xy")
    )
    return Measured(values=values, figure=plot(drawn))


def _over_depth(rule: str, depths: list[int], found: list[Array], limit: Array) -> Plot:
    """Return the RMS of the first example's features after training, beside the limit."""
    lines, top = [], 1.6 * float(limit[-1, -1, 0])
    for place, share in enumerate(LAYERS):
        after = [float(each[place, -1, 0]) for each in found]
        exact = [float(limit[place, -1, 0])] * len(depths)
        lines.append(Series(name=f"layer {share:g} L", x=depths, y=after))
        lines.append(Series(name="", x=depths, y=exact, style="dashed"))
    return Plot(
        title=rule, x="depth", y="RMS of features after training", lines=lines, log="x", top=top
    )


EXPERIMENT = Experiment(
    title="Linear networks of infinite width converge with depth",
    source="Tensor Programs VI, Figure 9",
    shows=(
        "Linear residual networks of infinite width, branches times 1/sqrt(depth), are solved at "
        "several depths, and the RMS of their features is compared with that at infinite depth. "
        "With SGD's rate constant in depth the error falls as 1/depth. With the factor "
        "depth^-1/2 that Adam's rate needs, features move less and less, and do not come near."
    ),
    claims=(
        Claim(
            says="At infinite width, features converge with depth as 1/depth.",
            quantity=QUANTITY,
            rule="constant rate",
            wrong="rate times depth^-1/2",
            expected=-1.0,
            tolerance=0.15,
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The paper has MNIST and depths to 512; here digits and depths to 128. At a rate of "
    "0.5, which was tried first, training oscillates and the exponent is -0.83.",
)
