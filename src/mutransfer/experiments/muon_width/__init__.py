"""Muon's scale conventions: each has its own factor of the rate over width."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...core import Estimate
from ...rules import Parametrization, Role, parametrization, powers
from ...studies import Study
from ...tasks import mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import sweeps
from .._quantities import DRIFT, drift

MUONS = {"muon-original": "-1/2", "muon-match-rms": "1/2"}
"""Optimizers, with what makes the factor of the other one of their own."""

OWN, OTHER = "its own factor", "the other's factor"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "octaves": (0, 2, 4, 6, 8), "seeds": 1, "steps": 5},
    "small": {"width": [16, 32, 64], "octaves": range(-2, 7), "seeds": 2, "steps": 60},
    "full": {"width": [64, 128, 256, 512, 1024], "octaves": range(-4, 9), "seeds": 3, "steps": 999},
}

RATE = 2**-6
"""AdamW's rate, of which Muon's is a multiple."""


def _wrong(exponent: str) -> Parametrization:
    """Return muP with another factor of the rate of hidden matrices."""
    rule = parametrization("mup")
    law = rule.law(Role.HIDDEN)
    hidden = replace(law, change=law.change * powers(fan_in=exponent))
    return replace(rule, name=OTHER, laws={**rule.laws, Role.HIDDEN: hidden})


def _quantity(muon: str) -> str:
    return f"{muon}: {DRIFT.format(axis='width')}"


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    rates = [2.0**octave for octave in setting["octaves"]]
    common = {name: value for name, value in setting.items() if name != "octaves"}
    values: dict[str, dict[str, Estimate]] = {OWN: {}, OTHER: {}}
    records = {}
    for muon, exponent in MUONS.items():
        study = Study(
            partial(mlp, depth=3),
            **common,
            lr=RATE,
            hyperparameters={"lr.hidden": rates},
            rules=("mup", _wrong(exponent)),
            optimizer=f"{muon}+adamw",
            task=bench.digits(),
        )
        runs = records[muon] = bench.sweep(study, muon)
        for name, rule in ((OWN, "mup"), (OTHER, OTHER)):
            values[name][_quantity(muon)] = drift(runs, rule, "width", over="lr.hidden")
    return Measured(values=values, figure=sweeps(records))


EXPERIMENT = Experiment(
    title="Muon: each scale convention has its own rate",
    source="Moonlight's Muon and 2512.05620, Appendix G; 2603.00541, Tables 6 and 12",
    shows=(
        "Muon's update is multiplied by sqrt(max(1, out/in)), as in torch, or by 0.2 sqrt(max(out, "
        "in)) to match Adam's size. The first keeps its rate over width, the second needs a factor "
        "of 1/sqrt(width). Muon's rate on hidden matrices is swept, with AdamW on the rest at one "
        "rate. As a control each convention is trained with the factor of the other."
    ),
    claims=tuple(
        Claim(
            says=f"The best rate of {muon} stays over width with its own factor.",
            quantity=_quantity(muon),
            rule=OWN,
            wrong=OTHER,
            expected=0.0,
            tolerance=0.1,
        )
        for muon in MUONS
    ),
    measure=_measure,
    minutes=1.0,
    remark="Widths are 16 to 64 alone, and intervals wide: Muon is slow on a CPU.",
)
