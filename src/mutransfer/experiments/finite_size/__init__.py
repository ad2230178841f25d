"""2309.16620: errors of finite width and of finite depth, apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import Estimate
from ...limits import FiniteSize, finite_size, lazy, linear, problem_of
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import exponent

LIMIT, KERNEL = "feature-learning limit", "kernel limit"

LAWS = {"one network": ("width", -0.5, 0.1), "mean over networks": ("width", -1.0, 0.25)}
"""Axis, theory's exponent and tolerance of the laws of networks."""

DEPTH = "infinite width: exponent of the outputs' error in depth"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 4, "steps": 4},
    "small": {"width": [32, 64, 128], "depth": [2, 4, 8, 16], "seeds": 200, "steps": 20},
    "full": {
        "width": [32, 64, 128, 256, 512],
        "depth": [2, 4, 8, 16, 32, 64],
        "seeds": 1000,
        "steps": 40,
    },
}


def _quantity(law: str) -> str:
    return f"{law}: exponent of the outputs' error in width"


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    widths, depths, seeds = (setting[name] for name in ("width", "depth", "seeds"))
    problem = problem_of("digits", examples=4, lr=0.05, steps=setting["steps"])
    sizes = {"width": widths, "depth": depths, "seeds": seeds}
    fixed = {depth: lazy(problem, depth).outputs.ravel() for depth in depths}
    found = {
        LIMIT: finite_size(problem, **sizes),
        KERNEL: finite_size(problem, **sizes, limit=fixed),
    }
    ends = {LIMIT: linear(problem, math.inf).outputs, KERNEL: lazy(problem, math.inf).outputs}
    outputs = {depth: linear(problem, depth).outputs for depth in depths}
    errors = {
        name: [float(np.sqrt(np.mean((outputs[each] - end) ** 2))) for each in depths]
        for name, end in ends.items()
    }
    values = {
        name: {
            **{_quantity(law): _exponent(result, law) for law in LAWS},
            DEPTH: exponent(depths, errors[name]),
        }
        for name, result in found.items()
    }
    parts = [
        *(
            _panel(law, "width", widths, {n: _errors(r, law) for n, r in found.items()})
            for law in LAWS
        ),
        _panel("infinite width", "depth", depths, errors),
    ]
    return Measured(values=values, figure=plot(parts), remarks=(_shares(found[LIMIT], setting),))


def _exponent(found: FiniteSize, law: str) -> Estimate:
    slope = found.laws[law].slope
    return slope if slope is not None else exponent(found.width, _errors(found, law))


def _errors(found: FiniteSize, law: str) -> list[float]:
    return [max(error, 1e-9) for error in found.laws[law].errors]


def _shares(found: FiniteSize, setting: dict[str, Any]) -> str:
    """Return a sentence on the parts of the error at the largest size."""
    width, depth = setting["width"][-1], setting["depth"][-1]
    sizes = {"width": width, "depth": depth}
    parts = {
        name: law.constant.value * float(sizes[law.axis]) ** -law.power
        for name, law in found.laws.items()
    }
    text = ", ".join(f"{name} {part / found.scale:.1%}" for name, part in parts.items())
    return (
        f"At width {width} and depth {depth} the error's parts, by the laws with theory's powers "
        f"and as shares of the outputs, are: {text}."
    )


def _panel(title: str, axis: str, sizes: list[int], errors: dict[str, list[float]]) -> Plot:
    power = {name: law[1] for name, law in LAWS.items()}.get(title, -1.0)
    first = errors[LIMIT][-1]
    theory = [first * (size / sizes[-1]) ** power for size in sizes]
    return Plot(
        title=title,
        x=axis,
        y="rms distance of outputs",
        lines=[
            Series(name="from the limit", x=sizes, y=errors[LIMIT]),
            Series(name="from the kernel limit", x=sizes, y=errors[KERNEL]),
            Series(name=f"{axis}^{power:g}", x=sizes, y=theory, style="dashed"),
        ],
        log="xy",
    )


def _claim(quantity: str, says: str, expected: float, tolerance: float) -> Claim:
    return Claim(
        says=says,
        quantity=quantity,
        rule=LIMIT,
        wrong=KERNEL,
        expected=expected,
        tolerance=tolerance,
    )


EXPERIMENT = Experiment(
    title="Errors of finite width and of finite depth, apart",
    source="2309.16620, Section 4; rates in width and in depth",
    shows=(
        "Outputs of residual networks with branches times 1/sqrt(depth) are compared with the "
        "limit of infinite width, and infinite width at several depths with infinite depth. One "
        "network is off by the noise of its initial weights, the mean over many by a bias, and "
        "both by finite depth; each falls with a power of its own. The control is the limit of "
        "fixed kernels, from which distances do not fall by these powers."
    ),
    claims=(
        _claim(
            _quantity("one network"),
            "One network's distance from the limit falls as width^-1/2.",
            *LAWS["one network"][1:],
        ),
        _claim(
            _quantity("mean over networks"),
            "The distance of the mean over networks falls as 1/width.",
            *LAWS["mean over networks"][1:],
        ),
        _claim(DEPTH, "The distance of finite depth falls as 1/depth.", -1.0, 0.25),
    ),
    measure=_measure,
    minutes=1.5,
)
