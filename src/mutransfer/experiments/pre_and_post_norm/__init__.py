"""Tensor Programs V, Table 1: transfer over depth with pre- and post-norm."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from .._bench import Bench, Experiment, Measured
from .._carried import CARRIED, carried
from .._claim import Claim
from .._models import residual_perceptron
from .._plots import sweeps
from .._quantities import DRIFT, drift

NORMS = ("pre", "post")
RULE = "sp"
"""At one width muP is standard parametrization; Tensor Programs V scales nothing with depth."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8], "depth": [2, 4], "seeds": 1, "steps": 4},
    "small": {"width": [32], "depth": [2, 4, 8, 16, 32], "seeds": 3, "steps": 100},
    "full": {"width": [256], "depth": [2, 4, 8, 16, 32, 64], "seeds": 5, "steps": 2000},
}


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {}
    records = {}
    for norm in NORMS:
        study = Study(
            residual_perceptron,
            **bench.pick(SETTINGS),
            lr=log2(-13, -4),
            rules=(RULE,),
            optimizer="adam",
            hyperparameters={"norm": norm},
            task=bench.digits(),
        )
        runs = bench.sweep(study, norm)
        records[f"{norm}-norm"] = runs
        values[f"{norm}-norm"] = {
            DRIFT.format(axis="depth"): drift(runs, RULE, "depth"),
            CARRIED: carried(runs, RULE),
        }
    return Measured(values=values, figure=sweeps(records, axis="depth"))


EXPERIMENT = Experiment(
    title="Pre-norm and post-norm networks over depth",
    source="Tensor Programs V, Table 1 and Section 6.1",
    shows=(
        "Residual networks of several depths are trained at a grid of rates, with a layer norm "
        "before each branch or after each residual add, and no scaling of depth. In the paper the "
        "best rate of pre-norm transformers is roughly stable over depth, and that of post-norm "
        "ones is not."
    ),
    claims=(
        Claim(
            says="With norms before branches the best rate is roughly stable over depth.",
            quantity=DRIFT.format(axis="depth"),
            rule="pre-norm",
            wrong="post-norm",
            expected=0.0,
            tolerance=0.2,
        ),
        Claim(
            says="With norms before branches a shallow network's rate costs a deep one little.",
            quantity=CARRIED,
            rule="pre-norm",
            wrong="post-norm",
            expected=0.0,
            tolerance=0.05,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "Here with residual perceptrons on digits in a short training; the paper trained "
        "transformers. With nothing scaled the best rate falls with depth under both norms, as the "
        "stream sums more branches; only post-norm networks stop training at the shallow rate."
    ),
)
