"""2309.16620: the smallest proxy that the error laws give, checked by training it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...core import Estimate
from ...limits import (
    Landscape,
    Problem,
    finite_size,
    how_small,
    landscape,
    linear,
    problem_of,
    simulate,
)
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot
from .._quantities import mean

PROXY, HALF, UNSCALED = "smallest proxy", "half its width and depth", "without depth scaling"

ERROR = "rms error of one network's outputs, over the tolerance; largest of all tolerances"
RATE = "distance of the best rate from that of infinite width and depth, octaves"

RATES = [2.0**power for power in range(-14, 0)]

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 4, "tolerances": [0.8], "networks": 2},
    "small": {
        "width": [16, 32, 64],
        "depth": [2, 4, 8],
        "seeds": 100,
        "tolerances": [0.1, 0.15, 0.2, 0.3],
        "networks": 40,
    },
    "full": {
        "width": [16, 32, 64, 128],
        "depth": [2, 4, 8, 16],
        "seeds": 400,
        "tolerances": [0.05, 0.1, 0.15, 0.2, 0.3],
        "networks": 100,
    },
}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    tolerances, networks = setting["tolerances"], setting["networks"]
    steps = 4 if bench.scale == "tiny" else 20
    problem = problem_of("digits", examples=4, lr=0.05, steps=steps)
    sizes = {name: setting[name] for name in ("width", "depth", "seeds")}
    errors = finite_size(problem, **sizes)
    proxies = [how_small(errors, tolerance) for tolerance in tolerances]
    shapes = {
        PROXY: [(each.width, each.depth) for each in proxies],
        HALF: [(each.width // 2, max(1, each.depth // 2)) for each in proxies],
    }
    measured = {
        name: [_error(problem, *shape, networks) for shape in each] for name, each in shapes.items()
    }
    ratios = {name: _ratios(each, tolerances) for name, each in measured.items()}
    smallest = min(depth for _, depth in shapes[HALF])
    plain = replace(problem, alpha=0.0, beta0=problem.branch(smallest))
    width, depth = shapes[PROXY][0]
    seen = {
        PROXY: landscape(problem, values=RATES, depth=[depth, math.inf], width=[width]),
        UNSCALED: landscape(plain, values=RATES, depth=[depth], width=[width]),
    }
    target = _best(seen[PROXY], math.inf)
    moved = {name: exactly(abs(_best(each, width) - target)) for name, each in seen.items()}
    values = {
        PROXY: {ERROR: max(ratios[PROXY], key=_value), RATE: moved[PROXY]},
        HALF: {ERROR: max(ratios[HALF], key=_value)},
        UNSCALED: {RATE: moved[UNSCALED]},
    }
    listed = ", ".join(f"{wide} x {deep}" for wide, deep in shapes[PROXY])
    remark = f"The proxies, width x depth, for tolerances of {tolerances}: {listed}."
    figure = plot([_errors(measured, shapes, tolerances), _rates(seen, width, depth)])
    return Measured(values=values, figure=figure, remarks=(remark,))


def _error(problem: Problem, width: int, depth: int, networks: int) -> Estimate:
    """Return the rms distance of networks from infinite width and depth."""
    distance = simulate(problem, width, depth, networks) - linear(problem, math.inf).outputs
    square = mean((distance**2).mean((1, 2)))
    value, low, high = (math.sqrt(max(0.0, end)) for end in (square.value, square.low, square.high))
    return Estimate(value=value, low=low, high=high)


def _ratios(errors: list[Estimate], tolerances: list[float]) -> list[Estimate]:
    return [
        Estimate(value=error.value / size, low=error.low / size, high=error.high / size)
        for error, size in zip(errors, tolerances, strict=True)
    ]


def _value(estimate: Estimate) -> float:
    return estimate.value


def _best(found: Landscape, width: float) -> float:
    """Return log2 of the best rate at the largest depth; at an edge, that edge."""
    curve = [curve for curve in found.curves if curve.width == width][-1]
    edge = RATES[int(curve.losses.argmin())]
    return math.log2(edge if curve.optimum is None else curve.optimum)


def _errors(
    measured: dict[str, list[Estimate]],
    shapes: dict[str, list[tuple[int, int]]],
    tolerances: list[float],
) -> Plot:
    lines = [
        Series(name=name, x=tolerances, y=[each.value for each in errors])
        for name, errors in measured.items()
    ]
    wanted = Series(name="as asked for", x=tolerances, y=tolerances, style="dashed")
    return Plot(
        title="proxies, trained",
        x="tolerance",
        y="rms error of outputs",
        lines=[*lines, wanted],
        log="xy",
    )


def _rates(found: dict[str, Landscape], width: int, depth: int) -> Plot:
    lines = []
    for name, each in found.items():
        for curve in each.curves:
            losses = np.where(np.isfinite(curve.losses), curve.losses, np.nan)
            infinite = math.isinf(curve.width)
            if infinite and not math.isinf(curve.depth):
                continue
            title = "infinite width and depth" if infinite else f"{width} x {depth}, {name}"
            style: Any = "dashed" if infinite else "line"
            lines.append(Series(name=title, x=RATES, y=losses.tolist(), style=style))
    return Plot(title="best rate", x="learning rate", y="mean training loss", lines=lines, log="xy")


EXPERIMENT = Experiment(
    title="The smallest proxy that is close enough",
    source="2309.16620, the limit of width and depth and its rates of convergence",
    shows=(
        "From errors of small networks, mutransfer.limits.how_small gives the fewest weights whose "
        "outputs stay within a tolerance of infinite width and depth. Networks of that size are "
        "trained: their error is below every tolerance, that of networks half as wide and deep is "
        "not, and their best rate is that of the limit."
    ),
    claims=(
        Claim(
            says="Networks of the proxy's size are as close to the limit as was asked for.",
            quantity=ERROR,
            rule=PROXY,
            wrong=HALF,
            expected=1.0,
            tolerance=0.05,
            sense="at most",
        ),
        Claim(
            says="The proxy's best rate is that of infinite width and depth.",
            quantity=RATE,
            rule=PROXY,
            wrong=UNSCALED,
            expected=0.25,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.0,
)
