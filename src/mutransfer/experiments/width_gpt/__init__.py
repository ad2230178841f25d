"""Tensor Programs V, Figure 1: the best rate of a GPT against its width."""

from __future__ import annotations

from typing import Any

from ...studies import Study, log2
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._carried import CARRIED, carried
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("sp", "mup")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16, 32], "seeds": 1, "steps": 3, "batch": 2, "context": 8},
    "small": {"width": [32, 64, 128], "seeds": 2, "steps": 80, "batch": 4, "context": 32},
    "full": {
        "width": [128, 256, 512, 1024, 2048],
        "seeds": 3,
        "steps": 5000,
        "batch": 32,
        "context": 128,
    },
}


def _measure(bench: Bench) -> Measured:
    study = Study(
        gpt,
        **bench.pick(SETTINGS),
        lr=log2(-11, -4),
        rules=RULES,
        optimizer="adam",
        task=bench.text,
    )
    runs = bench.sweep(study)
    values = {
        rule: {DRIFT.format(axis="width"): drift(runs, rule, "width"), CARRIED: carried(runs, rule)}
        for rule in RULES
    }
    return Measured(values=values, figure=sweeps({"GPT": runs}))


EXPERIMENT = Experiment(
    title="The best rate of a GPT over width",
    source="Tensor Programs V, Figure 1",
    shows=(
        "Transformers of several widths are trained on text with Adam at a grid of learning rates. "
        "Under standard parametrization the best rate falls as the width grows, so that the best "
        "rate of a small network is bad for a large one. Under muP the best rate stays, and wider "
        "networks are better at it."
    ),
    claims=(
        Claim(
            says="Under muP the best rate stays over width.",
            quantity=DRIFT.format(axis="width"),
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="Under SP the best rate falls with width.",
            quantity=DRIFT.format(axis="width"),
            rule="sp",
            wrong="mup",
            expected=-0.3,
            sense="at most",
        ),
        Claim(
            says="Under muP the narrowest network's best rate is good for the widest one.",
            quantity=CARRIED,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.02,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.0,
)
