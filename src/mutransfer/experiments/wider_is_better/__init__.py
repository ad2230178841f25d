"""Tensor Programs V, Figure 7: training curves of GPTs at one rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import Estimate
from ...studies import Runs, Study
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import mean

WORST = "largest excess of a wider network's loss over the narrower's, in nats, during the run"
GAIN = "loss of the narrowest network less that of the widest, in nats, at the end"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16, 32], "seeds": 1, "steps": 4, "batch": 2, "context": 8},
    "small": {"width": [32, 64, 128, 256], "seeds": 3, "steps": 120, "batch": 8, "context": 32},
    "full": {
        "width": [128, 256, 512, 1024, 2048],
        "seeds": 3,
        "steps": 5000,
        "batch": 32,
        "context": 128,
    },
}

RATE = 2**-7
"""The one rate of all widths, near the best one of the narrowest."""

PIECES = 12
"""Pieces of the run whose mean losses are compared."""


def _curves(runs: Runs, rule: str) -> np.ndarray:
    """Return the mean loss in pieces of the run, (seeds, widths, pieces)."""
    pieces = min(PIECES, *(len(row["curve"]) for row in runs.rows))
    curves = [
        [
            [float(np.mean(piece)) for piece in np.array_split(row["curve"], pieces)]
            for row in runs.rows
            if (row["rule"], row["seed"]) == (rule, seed)
        ]
        for seed in sorted({row["seed"] for row in runs.rows})
    ]
    return np.array(curves)


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    sizes = {name: setting[name] for name in ("width", "seeds", "steps", "batch")}
    context = setting["context"]
    study = Study(
        gpt,
        **sizes,
        lr=RATE,
        rules=("sp", "mup"),
        optimizer="adam",
        hyperparameters={"context": context},
        task=bench.text(context),
    )
    runs = bench.sweep(study)
    values: dict[str, dict[str, Estimate]] = {}
    panels = []
    for rule in runs.rules:
        curves = _curves(runs, rule)
        excess = np.diff(curves, axis=1).max((1, 2))
        gain = curves[:, 0, -1] - curves[:, -1, -1]
        values[rule] = {WORST: mean(list(excess)), GAIN: mean(list(gain))}
        pieces = curves.shape[-1]
        steps = [(piece + 0.5) / pieces * setting["steps"] for piece in range(pieces)]
        lines = [
            Series(name=f"width {width}", x=steps, y=list(losses))
            for width, losses in zip(setting["width"], curves.mean(0), strict=True)
        ]
        panels.append(Plot(title=rule, x="step", y="training loss", lines=lines))
    return Measured(values=values, figure=plot(panels))


EXPERIMENT = Experiment(
    title="Wider is better throughout training",
    source="Tensor Programs V, Figure 7",
    shows=(
        "GPTs of several widths are trained on text with Adam at one learning rate. Under muP the "
        "loss of a wider network is never above that of a narrower one, at any step. Under "
        "standard parametrization the rate is too high for wide networks, which become worse."
    ),
    claims=(
        Claim(
            says="Under muP a wider network is not worse than a narrower one at any time.",
            quantity=WORST,
            rule="mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.05,
            sense="at most",
        ),
        Claim(
            says="Under muP the widest network is better than the narrowest at the end.",
            quantity=GAIN,
            rule="mup",
            wrong="sp",
            expected=0.05,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.5,
    remark="At our scale training is short, so that little is left to gain by width at its end.",
)
