"""Graph networks: the best rate over width and over rounds of messages."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift
from ._models import graph_network

SCALED = "depth-mup"

WRONG = {"width": "sp", "depth": "mup"}
"""The rule under which the best rate moves, by axis."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "depth": [2, 4], "seeds": 1, "steps": 3, "lr": log2(-7, -4)},
    "small": {
        "width": [16, 32, 64],
        "depth": [4, 8, 16],
        "seeds": 2,
        "steps": 100,
        "lr": log2(-9, -2),
    },
    "full": {
        "width": [64, 128, 256, 512],
        "depth": [4, 8, 16, 32],
        "seeds": 5,
        "steps": 2000,
        "lr": log2(-13, -2),
    },
}


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS).copy()
    widths, depths = setting.pop("width"), setting.pop("depth")
    along = {
        "width": [{"width": width, "depth": depths[0]} for width in widths],
        "depth": [{"width": widths[0], "depth": depth} for depth in depths],
    }
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in (SCALED, *WRONG.values())}
    records = {}
    for axis, wrong in WRONG.items():
        study = Study(
            graph_network,
            axes=along[axis],
            rules=(SCALED, wrong),
            optimizer="adam",
            batch=32,
            task=bench.digits(),
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
    title="A graph network's rate over width and depth",
    source="2309.16620 and Tensor Programs VI, on residual messages in a graph",
    shows=(
        "Digits are graphs of patches, on which residual rounds of messages are trained by Adam. "
        "The papers' rules know matrices and residual adds, whatever is between them: with muP and "
        "branches times 1/sqrt(depth) the best rate stays over width and over rounds; with muP "
        "alone it moves with rounds, under SP with width, too."
    ),
    claims=(
        _claim("width", "Over width the best rate stays under muP, and moves under SP."),
        _claim("depth", "Over rounds it stays if branches are scaled, and moves if not."),
    ),
    measure=_measure,
    minutes=2.0,
    remark=(
        "Where the activation is last in a branch, its mean adds up over rounds and the best rate "
        "rises by 0.2 octaves per doubling of depth; so the matrix is last here, as in 2309.16620."
    ),
)
