"""CompleteP, Figure 7: the features' size and change over depth."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...checks import CoordinateCheck, coordinate_check
from ...core import Estimate
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot

RULES = {"alpha 0": "mup", "alpha 1/2": "completep, alpha=1/2", "alpha 1": "completep"}
"""Rules by the exponent of their branches; muP leaves branches as they are."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "depth": (2, 4, 8), "steps": 2, "seeds": 1},
    "small": {"width": 64, "depth": (2, 4, 8, 16, 32), "steps": 6, "seeds": 2},
    "full": {"width": 256, "depth": (2, 4, 8, 16, 32, 64, 128), "steps": 10, "seeds": 3},
}

STREAM = "norm"
"""The final norm, whose input is the end of the residual stream."""

QUANTITIES = {"input": "features", "change of input": "their change"}
EXPONENT = "{what} before the last norm, exponent in depth"


def _check(bench: Bench, rule: str) -> CoordinateCheck:
    setting = bench.pick(SETTINGS)
    return coordinate_check(
        partial(gpt, width=setting["width"]),
        depth=setting["depth"],
        steps=setting["steps"],
        seeds=setting["seeds"],
        rule=rule,
        control=False,
    )


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {}
    lines: dict[str, list[Series]] = {quantity: [] for quantity in QUANTITIES}
    for name, rule in RULES.items():
        check = _check(bench, rule)
        values[name] = {}
        for quantity, what in QUANTITIES.items():
            found = check.slope(STREAM, quantity, "depth")
            values[name][EXPONENT.format(what=what)] = Estimate(
                value=found.slope, low=found.low, high=found.high
            )
            _, points = max(check.series(STREAM, quantity, "depth"))
            depths, sizes = zip(*points, strict=True)
            lines[quantity].append(Series(name=f"{name}: {found.slope:+.2f}", x=depths, y=sizes))
    panels = [
        Plot(title=f"{what} before the last norm", x="depth", y="RMS", lines=each, log="xy")
        for what, each in zip(QUANTITIES.values(), lines.values(), strict=True)
    ]
    return Measured(values=values, figure=plot(panels))


def _claim(what: str, rule: str, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=EXPONENT.format(what=what),
        rule=rule,
        wrong="alpha 0",
        expected=0.0,
        tolerance=0.2,
    )


EXPERIMENT = Experiment(
    title="Features and their changes over depth",
    source="CompleteP (2505.01618), Figure 7",
    shows=(
        "GPTs of depth 2 to 32 are trained for a few steps. The residual stream before the last "
        "norm, and its change since initialisation, grow with depth where branches are left as "
        "they are. With branches times depth^-1/2, and Adam's rate with them, or with branches "
        "times 1/depth, both stay."
    ),
    claims=(
        _claim("features", "alpha 1", "With alpha 1 features have the same size at any depth."),
        _claim("their change", "alpha 1", "With alpha 1 they change by as much at any depth."),
        _claim("their change", "alpha 1/2", "With alpha 1/2 they change by as much, too."),
    ),
    measure=_measure,
    minutes=1.0,
)
