"""Tensor Programs VI, Figures 14 to 16: transformers over depth."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...studies import Study, log2
from ...tasks import gpt
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._depth import GAIN, early_and_late, gain
from .._plots import sweeps
from .._quantities import DRIFT, drift

RULES = ("depth-mup", "completep", "sp")
"""Branches times depth^-1/2, depth^-1 and 1."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": [16],
        "depth": [1, 2],
        "lr": log2(-8, -6),
        "seeds": 1,
        "steps": 5,
        "context": 8,
        "batch": 2,
    },
    "small": {
        "width": [32],
        "depth": [2, 4, 8],
        "lr": log2(-9, -4),
        "seeds": 1,
        "steps": 150,
        "context": 32,
        "batch": 8,
    },
    "full": {
        "width": [256],
        "depth": [4, 8, 16, 32, 64],
        "lr": log2(-13, -5),
        "seeds": 2,
        "steps": 4000,
        "context": 256,
        "batch": 64,
    },
}

DEPTH = DRIFT.format(axis="depth")


def _measure(bench: Bench) -> Measured:
    settings = bench.pick(SETTINGS)
    task = bench.text(settings["context"])
    more = {name: value for name, value in settings.items() if name != "context"}
    build = partial(gpt, context=settings["context"])
    runs = bench.sweep(Study(build, task=task, rules=RULES, optimizer="adam", **more))
    parts = early_and_late(runs)
    values = {rule: {DEPTH: drift(runs, rule, "depth")} for rule in RULES}
    for name, part in parts.items():
        for rule in RULES:
            values[f"{rule}, {name}"] = {GAIN: gain(part, rule)}
    return Measured(values=values, figure=sweeps(parts, axis="depth"))


EXPERIMENT = Experiment(
    title="Transformers over depth, early and late in training",
    source="Tensor Programs VI, Figures 14 to 16",
    shows=(
        "GPTs of several depths are trained by Adam on text, with branches times 1/sqrt(depth), "
        "1/depth or 1. The paper's Megatron transformers have blocks of two and more matrices, "
        "for which it finds no exact transfer: the best rate stays over depth for most of the "
        "training, and deeper networks are worse early and better late."
    ),
    claims=(
        Claim(
            says="With branches times 1/sqrt(depth) the best rate stays over depth.",
            quantity=DEPTH,
            rule="depth-mup",
            wrong="sp",
            expected=0.0,
            tolerance=0.1,
        ),
        Claim(
            says="Deeper networks are better late in training, and not yet early.",
            quantity=GAIN,
            rule="depth-mup, late",
            wrong="depth-mup, early",
            expected=0.0,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=1.5,
    remark="The paper has Common Crawl, 3900 steps of a million tokens and depth 8 to 128.",
)
