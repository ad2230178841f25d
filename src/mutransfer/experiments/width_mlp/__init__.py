"""Tensor Programs V, Figure 3: the best rate of an MLP against its width."""

from __future__ import annotations

from typing import Any

from ...core import Estimate
from ...studies import Study, log2
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

RATES = {"adam": log2(-13, -4), "sgd": log2(-8, 2)}
"""Learning rates, by optimizer."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "seeds": 1, "steps": 5},
    "small": {"width": [32, 64, 128, 256], "seeds": 3, "steps": 200},
    "full": {"width": [64, 128, 256, 512, 1024, 2048, 4096], "seeds": 5, "steps": 2000},
}


def _quantity(optimizer: str) -> str:
    return f"{optimizer}: {DRIFT.format(axis='width')}"


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {"sp": {}, "mup": {}}
    records = {}
    for optimizer, rates in RATES.items():
        study = Study(
            mlp,
            **bench.pick(SETTINGS),
            lr=rates,
            rules=tuple(values),
            optimizer=optimizer,
            task=bench.digits(),
        )
        records[optimizer] = bench.sweep(study, optimizer)
        for rule, measured in values.items():
            measured[_quantity(optimizer)] = drift(records[optimizer], rule, "width")
    return Measured(values=values, figure=sweeps(records))


def _claims(optimizer: str) -> Claim:
    return Claim(
        says=f"With {optimizer}, the best rate stays over width under muP, and moves under SP.",
        quantity=_quantity(optimizer),
        rule="mup",
        wrong="sp",
        expected=0.0,
        tolerance=0.1,
    )


EXPERIMENT = Experiment(
    title="The best rate of an MLP over width",
    source="Tensor Programs V, Figure 3",
    shows=(
        "MLPs of several widths are trained at a grid of learning rates, under standard "
        "parametrization and under muP. The paper's MLPs were trained on CIFAR-10 with SGD: under "
        "SP the best rate falls as the width grows, under muP it stays, and wider is better."
    ),
    claims=tuple(_claims(optimizer) for optimizer in RATES),
    measure=_measure,
    minutes=1.5,
)
