"""Tensor Programs V, Figure 4, lower row: four hyperparameters over depth."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import OneAtATime, Study, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._models import residual_perceptron
from .._one_at_a_time import ADVANTAGE, WORDS, hyperparameter_panels, moves, one_at_a_time
from .._plots import plot

RULE = "mup"
"""Width's rule alone: Tensor Programs V scales nothing with depth."""

NORMS = ("pre", "post")
CENTRE = {"lr": 2**-7, "readout": 1.0, "init": 1.0, "schedule": "constant"}
DISTANCE = "distance that the best value moves, octaves per doubling of depth"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8], "depth": [1, 2], "seeds": 1, "steps": 3, "batch": 4},
    "small": {"width": [32], "depth": [2, 4, 8, 16], "seeds": 2, "steps": 80, "batch": 64},
    "full": {"width": [256], "depth": [2, 4, 8, 16, 32], "seeds": 5, "steps": 2000, "batch": 64},
}


def _size(estimate: Estimate) -> Estimate:
    """Return a drift without its sign."""
    ends = sorted((abs(estimate.low), abs(estimate.high)))
    low = 0.0 if estimate.low < 0 < estimate.high else ends[0]
    return Estimate(value=abs(estimate.value), low=low, high=ends[1])


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {}
    panels = []
    for norm in NORMS:
        study = Study(
            residual_perceptron,
            **bench.pick(SETTINGS),
            lr=log2(-10, -4),
            readout=[2.0**power for power in (-4, -2, 0, 2, 4)],
            init=log2(-3, 1),
            schedule=["constant", "linear", "cosine", "step", "inverse-sqrt"],
            design=OneAtATime(CENTRE),
            rules=(RULE,),
            optimizer="adam",
            hyperparameters={"norm": norm},
            task=bench.digits(),
        )
        runs = bench.sweep(study, norm)
        values[f"{norm}-norm"] = one_at_a_time(runs, "depth")[RULE]
        panels += hyperparameter_panels(runs, RULE, "depth", CENTRE, f"{norm}-norm: ")
    drifts = values["pre-norm"]
    values |= {
        WORDS[name]: {DISTANCE: _size(drifts[moves(name, "depth")])} for name in ("lr", "init")
    }
    return Measured(values=values, figure=plot(panels, columns=4))


def _stays(name: str) -> Claim:
    return Claim(
        says=f"With norms before branches the best {WORDS[name]} is roughly stable over depth.",
        quantity=moves(name, "depth"),
        rule="pre-norm",
        wrong="post-norm",
        expected=0.0,
        tolerance=0.2,
    )


EXPERIMENT = Experiment(
    title="Rate, multipliers, initial scale and schedule over depth",
    source="Tensor Programs V, Figure 4 (lower row)",
    shows=(
        "Residual networks of several depths are swept, one hyperparameter at a time around a "
        "centre, with no scaling of depth. In the paper the best values of pre-norm transformers "
        "are roughly stable over depth, but that of the initial scale is not. The control has its "
        "norms after the residual adds, for which the paper claims nothing over depth."
    ),
    claims=(
        _stays("lr"),
        _stays("readout"),
        Claim(
            says="With norms before branches schedules compare alike at every depth.",
            quantity=ADVANTAGE.format(axis="depth"),
            rule="pre-norm",
            wrong="post-norm",
            expected=0.0,
            tolerance=0.1,
            sense="at most",
        ),
        Claim(
            says="The best initial scale does not transfer over depth.",
            quantity=DISTANCE,
            rule="initial scale",
            wrong="learning rate",
            expected=0.2,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Here with residual perceptrons on digits; the paper trained transformers. With nothing "
        "scaled in depth, the best rate falls at our scale under both norms. The best initial "
        "scale lies at the end of the sweep for most depths, so that its drift means little."
    ),
)
