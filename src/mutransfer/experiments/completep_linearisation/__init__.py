"""CompleteP, Figure 6: the learning of blocks beyond their linearisation."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...checks import CoordinateCheck, coordinate_check
from ...core import Estimate
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot

RULES = {"alpha 1/2": "completep, alpha=1/2", "alpha 1": "completep"}
"""Rules by the exponent of their branches."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 16, "depth": (2, 4, 8), "steps": 2},
    "small": {"width": 64, "depth": (4, 8, 16, 32), "steps": 8},
    "full": {"width": 256, "depth": (2, 4, 8, 16, 32, 64, 128), "steps": 8},
}

RATIO = "what is not linear in a block's own update, exponent in depth"


def _check(bench: Bench, rule: str) -> CoordinateCheck:
    setting = bench.pick(SETTINGS)
    return coordinate_check(
        partial(gpt, width=setting["width"]),
        depth=setting["depth"],
        steps=setting["steps"],
        rule=rule,
        seeds=1,
        control=False,
    )


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {}
    lines = []
    for name, rule in RULES.items():
        check = _check(bench, rule)
        found = check.slope("blocks.*", "nonlinearity", "depth")
        values[name] = {RATIO: Estimate(value=found.slope, low=found.low, high=found.high)}
        _, points = max(check.series("blocks.*", "nonlinearity", "depth"))
        depths, shares = zip(*points, strict=True)
        lines.append(Series(name=f"{name}: {found.slope:+.2f}", x=depths, y=shares))
    panel = Plot(
        title="Blocks beyond their linearisation",
        x="depth",
        y="nonlinear share of the change",
        lines=lines,
        log="xy",
    )
    return Measured(values=values, figure=plot([panel]))


def _claim(rule: str, wrong: str, expected: float, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=RATIO,
        rule=rule,
        wrong=wrong,
        expected=expected,
        tolerance=0.15,
    )


EXPERIMENT = Experiment(
    title="Blocks that learn no more than their linearisation",
    source="CompleteP (2505.01618), Figure 6",
    shows=(
        "GPTs of several depths are trained for a few steps. Of each block, the change of its "
        "output through its own update is compared with the change that is linear in the update. "
        "With branches times depth^-1/2 the rest falls as depth^-1/2: deep blocks learn as if they "
        "were linear in their parameters. With branches times 1/depth it stays."
    ),
    claims=(
        _claim("alpha 1", "alpha 1/2", 0.0, "With alpha 1 blocks stay nonlinear at any depth."),
        _claim(
            "alpha 1/2",
            "alpha 1",
            -0.5,
            "With alpha 1/2 what is nonlinear falls as 1/sqrt(depth).",
        ),
    ),
    measure=_measure,
    minutes=0.5,
)
