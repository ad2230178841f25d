"""2309.16620, Figure 1: the best rate of networks over width and depth."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models_convolution import fitting
from .._plots import sweeps
from .._quantities import DRIFT, drift

SCALED = "sqrt-depth"

WRONG = {"width": "sp", "depth": "mup"}
"""The rule under which the best rate moves, by axis."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-6, -3)},
    "small": {
        "width": [8, 16, 32],
        "depth": [4, 8, 16],
        "seeds": 3,
        "steps": 80,
        "lr": log2(-10, -4),
    },
    "full": {
        "width": [32, 64, 128, 256],
        "depth": [3, 6, 12, 24],
        "seeds": 3,
        "steps": 4000,
        "lr": log2(-10, 1),
    },
}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS).copy()
    widths, depths = setting.pop("width"), setting.pop("depth")
    # A cross: width at the smallest depth, depth at the smallest width.
    along = {
        "width": [{"width": width, "depth": depths[0]} for width in widths],
        "depth": [{"width": widths[0], "depth": depth} for depth in depths],
    }
    task = bench.images()
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in (SCALED, *WRONG.values())}
    records = {}
    for axis, wrong in WRONG.items():
        study = Study(
            fitting(task),
            axes=along[axis],
            rules=(SCALED, wrong),
            optimizer="sgd",
            momentum=0.9,
            batch=32,
            task=task,
            **setting,
        )
        records[axis] = bench.sweep(study, axis)
        for rule in (SCALED, wrong):
            values[rule][DRIFT.format(axis=axis)] = drift(records[axis], rule, axis)
    figures = {f"over {axis}": record for axis, record in records.items()}
    return Measured(values=values, figure=sweeps(figures))


def _claim(axis: str, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=DRIFT.format(axis=axis),
        rule=SCALED,
        wrong=WRONG[axis],
        expected=0.0,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="The best rate of residual networks over width and depth",
    source="2309.16620, Figure 1",
    shows=(
        "Convolutional residual networks without norms are trained by SGD with momentum, at a grid "
        "of rates, over width and over depth. With muP and branches times 1/sqrt(depth) the best "
        "rate stays over both; with muP alone it falls with depth, and under standard "
        "parametrization with width, too."
    ),
    claims=(
        _claim("width", "The best rate stays as width grows, under muP but not under SP."),
        _claim(
            "depth", "It stays as depth grows, with branches times 1/sqrt(depth) but not without."
        ),
    ),
    measure=_measure,
    minutes=2.0,
    remark=(
        "In 80 steps losses differ by little more than seeds do, so that the best rate over width "
        "is uncertain by half an octave; width 8 is narrow for a limit."
    ),
)
