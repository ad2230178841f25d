"""Supercollapse: the loss curves of all sizes are one curve."""

from __future__ import annotations

from typing import Any

from ...certificates import collapse
from ...core import Estimate
from ...studies import Study
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly

RULES = ("mup", "sp")

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16, 32], "seeds": 2, "steps": 40},
    "small": {"width": [32, 64, 128, 256], "seeds": 5, "steps": 200},
    "full": {"width": [64, 128, 256, 512, 1024, 2048], "seeds": 8, "steps": 5000},
}

DISTANCE = "distance of the curves of all widths, octaves of training"
AGAINST_NOISE = "distance of widths over the distance of seeds"


def _measure(bench: Bench) -> Measured:
    study = Study(
        mlp,
        **bench.pick(SETTINGS),
        lr=2**-5,
        schedule="linear",
        rules=RULES,
        optimizer="adam",
        task=bench.digits(),
    )
    found = collapse(bench.sweep(study))
    values: dict[str, dict[str, Estimate]] = {
        rule: {
            DISTANCE: exactly(found[rule].distance),
            AGAINST_NOISE: exactly(found[rule].distance / found[rule].noise),
        }
        for rule in RULES
    }
    said = tuple(f"{each}." for each in found)
    return Measured(values=values, figure=found.figure(), remarks=said)


EXPERIMENT = Experiment(
    title="Loss curves of all widths are one curve",
    source="Supercollapse (2507.02119), Figures 1 and 4",
    shows=(
        "MLPs of four widths are trained at one rate that falls to zero. Under muP their loss "
        "curves, over the share of the training and up to a factor, lie on each other as closely "
        "as those of different seeds do. Under SP wide networks train at another pace."
    ),
    claims=(
        Claim(
            says="Under muP loss curves of all widths collapse; under SP they do not.",
            quantity=DISTANCE,
            rule="mup",
            wrong="sp",
            expected=0.25,
            sense="at most",
        ),
        Claim(
            says="Under muP widths differ by no more than seeds do.",
            quantity=AGAINST_NOISE,
            rule="mup",
            wrong="sp",
            expected=1.0,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The difference shows near the best rate: at 2^-7, a quarter of this one, curves "
    "collapse under SP, too (0.21 octaves).",
)
