"""Tensor Programs VI, Figure 3: activations with diverse gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import Estimate
from ...statistics import Array
from ...studies import Runs, log2
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import depth_sweep, lowest
from .._plots import Plot, Series, plot
from .._quantities import DRIFT, drift, mean

NETWORKS: dict[str, dict[str, Any]] = {
    "relu before the matrix": {"activation": "relu", "place": "pre"},
    "relu": {"activation": "relu"},
    "abs": {"activation": "abs"},
}
"""In the order of the diversity of their gradients: none, half, full."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [16], "depth": [2, 4], "lr": log2(-9, -7), "seeds": 1, "steps": 30},
    "small": {
        "width": [48],
        "depth": [8, 16, 32, 64],
        "lr": log2(-12, -6),
        "seeds": 4,
        "steps": 250,
        "batch": 64,
    },
    "full": {
        "width": [256],
        "depth": [8, 16, 32, 64, 128, 256, 512, 1024],
        "lr": log2(-14, -6),
        "seeds": 5,
        "steps": 38000,
    },
}

DEPTH = DRIFT.format(axis="depth")
RATIO = "final loss of the deepest networks, over relu's"


def _ratio(runs: Runs, others: Runs, depth: int) -> Estimate:
    """Return final losses over those of other networks, seed by seed."""
    logs = [np.log(_final(record, depth)) for record in (runs, others)]
    found = mean(list(logs[0] - logs[1]))
    return Estimate(**{end: math.exp(number) for end, number in vars(found).items()})


def _final(runs: Runs, depth: int) -> Array:
    """Return the final losses of all seeds at the rate that is best for their mean."""
    (size,) = (each for each in runs.sizes("depth-mup") if each["depth"] == depth)
    _, losses = runs.with_metric("final").losses("depth-mup", size)
    return losses[:, losses.mean(0).argmin()]


def _measure(bench: Bench) -> Measured:
    settings = bench.pick(SETTINGS)
    records: dict[str, Runs] = {}
    for number, (name, network) in enumerate(NETWORKS.items()):
        rules = ("depth-mup", "sp") if name == "abs" else ("depth-mup",)
        fixed = {**network, "frozen": False}
        more: dict[str, Any] = {"hyperparameters": fixed, "rules": rules}
        records[name] = depth_sweep(bench, settings, f"network-{number}", **more)
    final = {name: lowest(runs.with_metric("final"), "depth-mup") for name, runs in records.items()}
    values = {
        name: {
            RATIO: _ratio(runs, records["relu"], settings["depth"][-1]),
            DEPTH: drift(runs, "depth-mup", "depth"),
        }
        for name, runs in records.items()
    }
    values["abs, sp"] = {DEPTH: drift(records["abs"], "sp", "depth")}
    lines = [Series(name=n, x=list(each), y=list(each.values())) for n, each in final.items()]
    panel = Plot(title="depth-mup", x="depth", y="lowest final loss", lines=lines, log="xy")
    return Measured(values=values, figure=plot([panel]))


EXPERIMENT = Experiment(
    title="Diverse gradients: abs, relu, and relu before the matrix",
    source="Tensor Programs VI, Figure 3",
    shows=(
        "Residual networks are trained under Depth-muP with branches |W x|, relu(W x) and "
        "W relu(x). The gradients of neighbouring layers are least alike with abs, and most alike "
        "with the activation before the matrix. At the end of training deep networks are the "
        "better the less alike they are, at a best rate that stays over depth."
    ),
    claims=(
        Claim(
            says="With abs, deep networks reach a lower training loss than with relu.",
            quantity=RATIO,
            rule="abs",
            wrong="relu before the matrix",
            expected=1.0,
            tolerance=0.0,
            sense="at most",
        ),
        Claim(
            says="With abs and Depth-muP the best rate stays over depth.",
            quantity=DEPTH,
            rule="abs",
            wrong="abs, sp",
            expected=0.0,
            tolerance=0.1,
        ),
    ),
    measure=_measure,
    minutes=3.5,
    remark=(
        "The paper has width 256, depth 8 to 1024 and 39,000 steps on CIFAR-10, and compares the "
        "end of a training 150 times as long. Final losses of so short a training are noisy: with "
        "two seeds the ratio was 0.76 and 1.24 in two versions that differ by rounding. With input "
        "and readout frozen and width 32 it was 1.8."
    ),
)
