"""Tensor Programs VI, Figure 8: finite linear networks approach the recursion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...core import Estimate
from ...limits import Problem, network_stream
from ...statistics import Array
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_linear import LAYERS, limit_sizes, linear_network
from .._plots import Plot, Series, plot
from .._quantities import exponent

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": 4, "width": [16, 32, 64], "seeds": 2, "examples": 2, "steps": 3},
    "small": {
        "depth": 32,
        "width": [32, 64, 128, 256, 512],
        "seeds": 10,
        "examples": 4,
        "steps": 10,
    },
    "full": {
        "depth": 64,
        "width": [128, 256, 512, 1024, 2048, 4096, 8192],
        "seeds": 20,
        "examples": 10,
        "steps": 10,
    },
}

RATE = 0.2
"""Learning rate, at which ten steps change features by a good part of their size."""

QUANTITY = "exponent in width of the error of features"


def network_sizes(problem: Problem, width: int, depth: int, seed: int) -> Array:
    """Return the RMS of one network's features, (places, times, examples)."""
    stream = network_stream(problem, width, depth, seed)
    rows = [round(place * depth) for place in LAYERS]
    return np.asarray(np.sqrt((stream[rows] ** 2).mean(-1)))


def _scaled(problem: Problem, rule: str, ratio: float) -> Problem:
    """Return the problem under a rule, at a width that is a ratio of the smallest."""
    # The kernel regime is gamma0 ~ width^-1/2 at a rate of gamma0^2 width.
    gamma0 = problem.gamma0 * (ratio**-0.5 if rule == "ntk" else 1.0)
    return replace(problem, gamma0=gamma0)


def _measure(bench: Bench) -> Measured:
    chosen = bench.pick(SETTINGS)
    widths, depth, seeds = chosen["width"], chosen["depth"], range(chosen["seeds"])
    bench.digits()
    problem = linear_network(chosen["examples"], chosen["steps"], lr=RATE)
    limit = limit_sizes(problem, depth)
    values: dict[str, dict[str, Estimate]] = {}
    panels, sizes = [], {}
    for rule in ("mup", "ntk"):
        for width in widths:
            scaled = _scaled(problem, rule, width / widths[0])
            sizes[rule, width] = np.stack(
                [network_sizes(scaled, width, depth, seed) for seed in seeds]
            )
        errors = [float(np.sqrt(((sizes[rule, n] - limit) ** 2).mean())) for n in widths]
        values[rule] = {QUANTITY: exponent(widths, errors)}
        panels.append(Series(name=rule, x=widths, y=errors))
    drawn = [_over_width("mup", step, widths, sizes, limit) for step in (1, chosen["steps"])]
    law = [panels[0].y[0] * (width / widths[0]) ** -0.5 for width in widths]
    lines = [*panels, Series(name="width^-1/2", x=widths, y=law, style="dashed")]
    drawn.append(
        Plot(title="error of one network", x="width", y="RMS error", lines=lines, log="xy")
    )
    return Measured(values=values, figure=plot(drawn))


def _over_width(
    rule: str, step: int, widths: list[int], sizes: dict[tuple[str, int], Array], limit: Array
) -> Plot:
    """Return the RMS of the first example's features over width, beside the limit."""
    lines, top = [], 1.6 * float(limit[-1, step, 0])
    for place, share in enumerate(LAYERS):
        means = [float(sizes[rule, width][:, place, step, 0].mean()) for width in widths]
        exact = [float(limit[place, step, 0])] * len(widths)
        lines.append(Series(name=f"layer {share:g} L", x=widths, y=means))
        lines.append(Series(name="", x=widths, y=exact, style="dashed"))
    title = f"step {step} (dashed: recursion)"
    return Plot(title=title, x="width", y="RMS of features", lines=lines, log="x", top=top)


EXPERIMENT = Experiment(
    title="Finite linear networks approach infinite width",
    source="Tensor Programs VI, Figure 8",
    shows=(
        "Deep linear residual networks with branches times 1/sqrt(depth) are trained by SGD on one "
        "example a step, and the RMS of their features is compared with the solution at infinite "
        "width. The wider the network, the nearer it is, at every layer and step. In the kernel "
        "regime (NTK parametrization) features stop moving instead, and do not come near."
    ),
    claims=(
        Claim(
            says="Features converge with width to the recursion, as one draw of weights does.",
            quantity=QUANTITY,
            rule="mup",
            wrong="ntk",
            expected=-0.5,
            tolerance=0.15,
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The paper has MNIST, depth 64 and widths to 8192; here digits, depth 32 and 512. "
    "A rate of 0.5 was tried first, at which training oscillates.",
)
