"""Weight decay over width: the same fraction a step, or the same number."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = {
    "rate x decay constant": "mup",
    "decay constant": "mup, decay=constant",
    "decay times sqrt(width)": "mup, decay=sqrt",
}
"""Rules by what hidden matrices' decay does over width."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "lr": log2(-8, -3), "seeds": 1, "steps": 5},
    "small": {"width": [16, 32, 64, 128], "lr": log2(-10, -4), "seeds": 2, "steps": 200},
    "full": {"width": [64, 256, 1024, 4096], "lr": log2(-14, -3), "seeds": 3, "steps": 5000},
}

DECAY = 2.0
"""At base width, for AdamW; strong, so that decay and updates are in balance within the run."""

BEST = DRIFT.format(axis="width")


def _measure(bench: Bench) -> Measured:
    study = Study(
        mlp,
        **bench.pick(SETTINGS),
        weight_decay=DECAY,
        rules=tuple(RULES.values()),
        optimizer="adamw",
        task=bench.digits(),
    )
    runs = bench.sweep(study)
    values: dict[str, dict[str, Estimate]] = {
        name: {BEST: drift(runs, rule, "width")} for name, rule in RULES.items()
    }
    return Measured(values=values, figure=sweeps({f"AdamW, decay {DECAY:g}": runs}))


EXPERIMENT = Experiment(
    title="Weight decay over width: which number stays",
    source="2510.19093, independent weight decay; 2510.15262, decay times sqrt(width)",
    shows=(
        "MLPs are trained by AdamW with a strong decay. Under muP the rate of hidden matrices is "
        "divided by the width. Their decay is multiplied by the width, so that rate times decay "
        "stays, or kept as a number, or multiplied by sqrt(width). The best rate is to stay."
    ),
    claims=(
        Claim(
            says="With rate times decay constant the best rate stays over width.",
            quantity=BEST,
            rule="rate x decay constant",
            wrong="decay constant",
            expected=0.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="The decay was chosen to show a difference: a decay of 1 shows less (0.07 octaves per "
    "doubling with constant decay, in 300 steps), and with 8 nothing trains. The training loss is "
    "lowest where decay is weakest, which in wide networks is under constant decay.",
)
