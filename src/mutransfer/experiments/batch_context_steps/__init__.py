"""Tensor Programs V, Figure 19: the rate over batch, context and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULE = "mup"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": 16,
        "depth": 1,
        "seeds": 1,
        "usual": {"batch": 2, "context": 8, "steps": 4},
        "axes": {"batch": [2, 4], "context": [4, 8], "steps": [4, 8]},
    },
    "small": {
        "width": 32,
        "depth": 1,
        "seeds": 2,
        "usual": {"batch": 8, "context": 32, "steps": 80},
        "axes": {"batch": [4, 8, 16, 32], "context": [16, 32, 64], "steps": [80, 160, 320]},
    },
    "full": {
        "width": 256,
        "depth": 2,
        "seeds": 5,
        "usual": {"batch": 32, "context": 128, "steps": 5000},
        "axes": {
            "batch": [16, 32, 64, 128, 256],
            "context": [32, 64, 128, 256],
            "steps": [2500, 5000, 10000, 20000],
        },
    },
}

CONTROLS = {
    "batch": ("rate times √batch", -0.5),
    "context": ("rate times √context", -0.5),
    "steps": ("rate / √steps", 0.5),
}
"""A scaling of the rate, and what it adds to the drift of the rate that it multiplies."""


def _study(setting: Mapping[str, Any], axis: str, bench: Bench) -> Study:
    return Study(
        gpt,
        width=[setting["width"]],
        depth=[setting["depth"]],
        lr=log2(-9, -3),
        rules=(RULE,),
        optimizer="adam",
        seeds=setting["seeds"],
        task=bench.text,
        **{**setting["usual"], axis: setting["axes"][axis]},
    )


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    values: dict[str, dict[str, Estimate]] = {RULE: {}}
    records = {}
    for axis, (control, shift) in CONTROLS.items():
        records[axis] = bench.sweep(_study(setting, axis, bench), axis)
        quantity = DRIFT.format(axis=axis)
        found = drift(records[axis], RULE, axis)
        values[RULE][quantity] = found
        values[control] = {
            quantity: Estimate(
                value=found.value + shift, low=found.low + shift, high=found.high + shift
            )
        }
    return Measured(values=values, figure=sweeps(records))


def _claim(axis: str, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=DRIFT.format(axis=axis),
        rule=RULE,
        wrong=CONTROLS[axis][0],
        expected=0.0,
        tolerance=0.2,
    )


EXPERIMENT = Experiment(
    title="The best rate over batch size, context and training time",
    source="Tensor Programs V, Figure 19",
    shows=(
        "A GPT under muP is swept over learning rates at several batch sizes, lengths of "
        "sequences and numbers of steps. In the paper the best rate is roughly stable once batch "
        "size is at least 32, context 128 and training 5000 steps; there is no theory for it. The "
        "control is computed, not trained: a rate that follows a square root of the axis has the "
        "same best values, with half an octave per doubling added to or taken from their drift."
    ),
    claims=(
        _claim("batch", "The best rate is roughly the same at every batch size."),
        _claim("context", "The best rate is roughly the same at every length of sequences."),
        _claim("steps", "The best rate is roughly the same at every training time."),
    ),
    measure=_measure,
    minutes=1.5,
    remark=(
        "Nearly all sizes here lie below the least at which the paper calls the rate stable. The "
        "best rate rises with the batch size, most between 4 and 8, and falls with training time."
    ),
)
