"""2309.16620: early dynamics of finite networks converge to the limit's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...core import Estimate
from ...limits import (
    FiniteSize,
    Limit,
    Problem,
    finite_size,
    lazy,
    linear,
    problem_of,
    simulate,
)
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent

LIMIT, KERNEL = "feature-learning limit", "kernel limit"

WIDTH = "early loss, mean over networks: exponent of its error in width"
DEPTH = "early loss, infinite width: exponent of its error in depth"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 4, "steps": 6},
    "small": {"width": [16, 32, 64, 128], "depth": [2, 4, 8, 16], "seeds": 400, "steps": 20},
    "full": {
        "width": [16, 32, 64, 128, 256, 512],
        "depth": [2, 4, 8, 16, 32, 64],
        "seeds": 4000,
        "steps": 40,
    },
}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    widths, depths, seeds = (setting[name] for name in ("width", "depth", "seeds"))
    whole = problem_of("digits", examples=4, lr=0.05, steps=setting["steps"])
    early = replace(whole, steps=setting["steps"] // 2)
    solved: dict[float, Limit] = {depth: linear(whole, depth) for depth in (*depths, math.inf)}
    depth = depths[1]
    sizes = {"width": widths, "depth": [depth], "seeds": seeds, "of": "losses"}
    kernel = lazy(early, depth).losses
    laws = {
        LIMIT: finite_size(early, **sizes),
        KERNEL: finite_size(early, **sizes, limit={depth: kernel}),
    }
    ends = {LIMIT: solved[math.inf].losses, KERNEL: lazy(whole, math.inf).losses}
    errors = {
        name: [_rms((solved[each].losses - end)[: early.steps + 1]) for each in depths]
        for name, end in ends.items()
    }
    values = {
        name: {WIDTH: _width_exponent(laws[name], widths), DEPTH: exponent(depths, errors[name])}
        for name in laws
    }
    by_width = {f"width {n}": _mean_loss(whole, n, depth, seeds) for n in widths}
    by_depth = {f"depth {n}": solved[n].losses.tolist() for n in depths}
    figure = plot(
        [
            _curves(f"wider, at depth {depth}", by_width, solved[depth]),
            _curves("deeper, at infinite width", by_depth, solved[math.inf]),
            _distances("width", widths, {name: _errors(found) for name, found in laws.items()}),
            _distances("depth", depths, errors),
        ],
        columns=2,
    )
    return Measured(values=values, figure=figure)


def _rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _mean_loss(problem: Problem, width: int, depth: int, seeds: int) -> Any:
    return problem.losses(simulate(problem, width, depth, seeds)).mean(0).tolist()


def _width_exponent(found: FiniteSize, widths: list[int]) -> Estimate:
    slope = found.laws["mean over networks"].slope
    return slope if slope is not None else exponent(widths, [max(e, 1e-9) for e in _errors(found)])


def _errors(found: FiniteSize) -> list[float]:
    return list(found.laws["mean over networks"].errors)


def _curves(title: str, curves: dict[str, list[float]], limit: Limit) -> Plot:
    steps = list(range(len(limit.losses)))
    lines = [Series(name=name, x=steps, y=curve) for name, curve in curves.items()]
    end = Series(name="limit", x=steps, y=limit.losses.tolist(), style="dashed")
    return Plot(title=title, x="step", y="training loss", lines=[*lines, end])


def _distances(axis: str, sizes: list[int], errors: dict[str, list[float]]) -> Plot:
    theory = [errors[LIMIT][-1] * sizes[-1] / size for size in sizes]
    return Plot(
        title="first half of training",
        x=axis,
        y="rms distance of the loss",
        lines=[
            Series(name="from the limit", x=sizes, y=errors[LIMIT]),
            Series(name="from the kernel limit", x=sizes, y=errors[KERNEL]),
            Series(name=f"1/{axis}", x=sizes, y=theory, style="dashed"),
        ],
        log="xy",
    )


def _claim(axis: str, quantity: str, tolerance: float) -> Claim:
    return Claim(
        says=f"In early training the loss converges to the limit's as one over the {axis}.",
        quantity=quantity,
        rule=LIMIT,
        wrong=KERNEL,
        expected=-1.0,
        tolerance=tolerance,
    )


EXPERIMENT = Experiment(
    title="Loss curves converge to those of infinite width and depth",
    source="2309.16620, Section 4 (convergence of finite networks)",
    shows=(
        "Residual networks with branches times 1/sqrt(depth) are trained on four digits, and their "
        "loss at every step is compared with the limit that mutransfer.limits solves: networks of "
        "several widths with the limit of their depth, and infinite width at several depths with "
        "infinite depth. Distances are those of the first half of training, and of the mean over "
        "networks. The control is the limit of fixed kernels, to which they must not converge by "
        "these powers."
    ),
    claims=(_claim("width", WIDTH, 0.25), _claim("depth", DEPTH, 0.25)),
    measure=_measure,
    minutes=0.5,
)
