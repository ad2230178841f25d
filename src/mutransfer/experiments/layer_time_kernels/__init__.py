"""2309.16620: kernels over layer time, of several depths beside the limit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import Estimate
from ...limits import Limit, Problem, lazy, linear, network_stream, problem_of
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent

LIMIT, FIXED = "feature-learning limit", "kernels before training"

EXPONENT = "trained kernels at infinite width: exponent of their distance in depth"
DISTANCE = "kernels of the deepest networks: distance, as a share"

PLACES = 0.25, 0.5, 0.75, 1.0
"""Layer times at which kernels are compared."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "depth": [4, 8, 16], "seeds": 2, "steps": 4},
    "small": {"width": 256, "depth": [4, 8, 16], "seeds": 30, "steps": 20},
    "full": {"width": 2048, "depth": [4, 8, 16, 32], "seeds": 100, "steps": 40},
}

_RESAMPLES = 200

Kernels = np.ndarray[Any, Any]
"""Kernels of every layer after training, (layers, examples, examples)."""


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    depths = setting["depth"]
    problem = problem_of("digits", examples=4, lr=0.05, steps=setting["steps"])
    solved = {depth: linear(problem, depth) for depth in (*depths, math.inf)}
    ends = {LIMIT: _trained(solved[math.inf]), FIXED: lazy(problem, math.inf).nngp}
    networks = {
        depth: np.array(
            [
                _of_network(problem, setting["width"], depth, seed)
                for seed in range(setting["seeds"])
            ]
        )
        for depth in depths
    }
    values = {
        name: {
            EXPONENT: exponent(depths, [_distance(_trained(solved[d]), end) for d in depths]),
            DISTANCE: _of_mean(networks[depths[-1]], end),
        }
        for name, end in ends.items()
    }
    figure = plot(
        [
            _panel(
                f"width {setting['width']}", {d: each.mean(0) for d, each in networks.items()}, ends
            ),
            _panel("infinite width", {d: _trained(solved[d]) for d in depths}, ends),
        ]
    )
    return Measured(values=values, figure=figure)


def _trained(limit: Limit) -> Kernels:
    return np.asarray(limit.features[:, -1, :, -1])


def _of_network(problem: Problem, width: int, depth: int, seed: int) -> Kernels:
    last = network_stream(problem, width, depth, seed)[:, -1]
    return np.asarray(last @ np.swapaxes(last, -1, -2) / width)


def _at_places(kernels: Kernels) -> Kernels:
    """Return the kernels at the layer times that all depths have."""
    return np.array([kernels[round(place * (len(kernels) - 1))] for place in PLACES])


def _distance(kernels: Kernels, end: Kernels) -> float:
    first, second = _at_places(kernels), _at_places(end)
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def _of_mean(networks: Kernels, end: Kernels) -> Estimate:
    """Return the distance of the mean over networks, with its interval."""
    generator = np.random.default_rng(0)
    count = len(networks)
    drawn = [
        _distance(networks[generator.integers(count, size=count)].mean(0), end)
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = _distance(networks.mean(0), end)
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def _panel(title: str, kernels: dict[int, Kernels], ends: dict[str, Kernels]) -> Plot:
    return Plot(
        title=title,
        x="layer time, layer / depth",
        y="mean square of features",
        lines=[
            *(_series(f"depth {depth}", each, "line") for depth, each in kernels.items()),
            _series("limit", ends[LIMIT], "dashed"),
            _series("before training", ends[FIXED], "dots"),
        ],
    )


def _series(name: str, kernels: Kernels, style: Any) -> Series:
    places = np.linspace(0, 1, len(kernels)).tolist()
    sizes = np.trace(kernels, axis1=1, axis2=2) / kernels.shape[1]
    return Series(name=name, x=places, y=sizes.tolist(), style=style)


EXPERIMENT = Experiment(
    title="Kernels over layer time",
    source="2309.16620, kernels of three depths beside the limit",
    shows=(
        "The products of features between examples are drawn over layer time, the layer divided by "
        "the depth, after training. Networks of several depths lie on one curve, that of infinite "
        "width and depth, because branches are scaled by 1/sqrt(depth). The control is the kernel "
        "before training, from which trained kernels stay apart however deep the network is."
    ),
    claims=(
        Claim(
            says="Trained kernels, as functions of layer time, converge to the limit's as 1/depth.",
            quantity=EXPONENT,
            rule=LIMIT,
            wrong=FIXED,
            expected=-1.0,
            tolerance=0.25,
        ),
        Claim(
            says="Kernels of the deepest networks lie on the limit's curve.",
            quantity=DISTANCE,
            rule=LIMIT,
            wrong=FIXED,
            expected=0.1,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=0.5,
)
