"""Tensor Programs V, Figure 4, upper row: four hyperparameters over width."""

from __future__ import annotations

from typing import Any

from ...studies import OneAtATime, Study, log2
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._one_at_a_time import ADVANTAGE, WORDS, hyperparameter_panels, moves, one_at_a_time
from .._plots import plot

CONTROL = "mup, without lr"
"""Initial scales and multipliers of muP, with one rate for all tensors."""

CENTRE = {"lr": 2**-6, "readout": 1.0, "init": 1.0, "schedule": "constant"}

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16, 32], "seeds": 1, "steps": 3, "batch": 2, "context": 8},
    "small": {"width": [32, 64, 128], "seeds": 1, "steps": 60, "batch": 4, "context": 32},
    "full": {
        "width": [128, 256, 512, 1024, 2048],
        "seeds": 5,
        "steps": 10000,
        "batch": 20,
        "context": 256,
    },
}


def _measure(bench: Bench) -> Measured:
    study = Study(
        gpt,
        **bench.pick(SETTINGS),
        lr=log2(-9, -4),
        readout=[2.0**power for power in (-4, -2, 0, 2, 4)],
        init=log2(-3, 4),
        schedule=["constant", "linear", "cosine", "step", "inverse-sqrt"],
        design=OneAtATime(CENTRE),
        rules=("mup", CONTROL),
        optimizer="adam",
        task=bench.text,
    )
    runs = bench.sweep(study)
    values = one_at_a_time(runs, "width")
    panels = [
        panel
        for rule in runs.rules
        for panel in hyperparameter_panels(runs, rule, "width", CENTRE, f"{rule}: ")
    ]
    return Measured(values=values, figure=plot(panels, columns=4))


def _stays(name: str) -> Claim:
    return Claim(
        says=f"Under muP the best {WORDS[name]} is the same at every width.",
        quantity=moves(name, "width"),
        rule="mup",
        wrong=CONTROL,
        expected=0.0,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="Rate, multipliers, initial scale and schedule over width",
    source="Tensor Programs V, Figure 4 (upper row)",
    shows=(
        "GPTs of several widths are swept under muP, one hyperparameter at a time around a centre: "
        "the learning rate, the multiplier of the readout, the initial scale, and the schedule of "
        "the rate. The best value of each stays as width grows. The control has muP's initial "
        "scales and multipliers, but one rate for all tensors."
    ),
    claims=(
        *(_stays(name) for name in ("lr", "readout", "init")),
        Claim(
            says="Under muP schedules compare alike at every width.",
            quantity=ADVANTAGE.format(axis="width"),
            rule="mup",
            wrong=CONTROL,
            expected=0.0,
            tolerance=0.1,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "In 60 steps initial scale, schedules and readout multiplier differ too little to tell the "
        "rules apart: only the learning rate does. One seed leaves the best scale uncertain "
        "by half an octave."
    ),
)
