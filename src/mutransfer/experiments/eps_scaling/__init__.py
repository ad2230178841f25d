"""Adam's eps over width: scaled as the gradient is, or left as it is."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = {"eps scaled": "mup", "eps left": "mup, without eps"}

EPS = 2**-6
"""Larger than the gradients, so that it decides how large updates are."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "lr": log2(-6, 2), "seeds": 1, "steps": 5},
    "small": {"width": [32, 64, 128, 256], "lr": log2(-8, -1), "seeds": 2, "steps": 100},
    "full": {"width": [64, 256, 1024, 4096], "lr": log2(-10, 4), "seeds": 4, "steps": 2000},
}

BEST = DRIFT.format(axis="width")


def _measure(bench: Bench) -> Measured:
    study = Study(
        mlp,
        **bench.pick(SETTINGS),
        eps=EPS,
        rules=tuple(RULES.values()),
        optimizer="adam",
        task=bench.digits(),
    )
    runs = bench.sweep(study)
    values: dict[str, dict[str, Estimate]] = {
        name: {BEST: drift(runs, rule, "width")} for name, rule in RULES.items()
    }
    return Measured(values=values, figure=sweeps({f"Adam, eps {EPS:.1g}": runs}))


EXPERIMENT = Experiment(
    title="Adam's eps has to follow the gradient",
    source="Scaling Exponents (2407.05872), Section on epsilon; CompleteP (2505.01618), Table 1",
    shows=(
        "Gradients of a wide network are small: under muP those of hidden matrices fall as "
        "1/width. An eps that is not scaled with them takes over where it is as large as they "
        "are, and updates shrink. MLPs are trained by Adam with an eps above the gradients, "
        "scaled and not."
    ),
    claims=(
        Claim(
            says="With eps scaled the best rate stays over width; with eps left it moves.",
            quantity=BEST,
            rule="eps scaled",
            wrong="eps left",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="With eps left the best rate rises, to make up for updates that shrink.",
            quantity=BEST,
            rule="eps left",
            wrong="eps scaled",
            expected=0.2,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=0.5,
    remark="With an eps of 2^-9 and widths 16 to 128 both move (0.13 and 0.30 octaves per "
    "doubling), as 16 is too narrow and the eps too small to tell.",
)
