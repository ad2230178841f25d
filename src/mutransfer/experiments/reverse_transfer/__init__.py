"""Tensor Programs V, Figure 21: a wide model's instability, seen on a narrow one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...core import Estimate
from ...pytorch import plan
from ...studies import Runs, Study, log2
from ...tasks import mlp
from ...training import Member, Recipe, train
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._plots import Plot, Series, plot

DISTANCE = "{what} of the narrow model less that of the widest, mean distance in octaves"
BEST, STABLE = "best rate", "largest stable rate"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"narrow": 8, "width": [8, 16], "seeds": 1, "steps": 8},
    "small": {"narrow": 64, "width": [64, 128, 256, 512], "seeds": 3, "steps": 150},
    "full": {"narrow": 256, "width": [256, 512, 1024, 2048, 4096], "seeds": 5, "steps": 1000},
}

RATES = log2(-12, -2)

CLASSES = 10
UNTRAINED = math.log(CLASSES)
"""Cross-entropy of a guess: a run with a larger mean loss counts as unstable."""


def _cut(losses: np.ndarray) -> np.ndarray:
    """Return mean losses with no larger ones, or missing ones, than twice a guess's."""
    known = np.nan_to_num(losses, nan=np.inf)
    return np.asarray(np.minimum(known, 2 * UNTRAINED).mean(0))


def _actual(runs: Runs, width: int) -> np.ndarray:
    """Return the loss at each rate of a model under standard parametrization."""
    size = next(size for size in runs.sizes("sp") if size["width"] == width)
    return _cut(runs.losses("sp", size)[1])


def _simulated(narrow: int, wide: int, recipe: Recipe, seeds: int) -> np.ndarray:
    """Return the loss at each rate of a narrow model that stands for a wide one."""
    members = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = mlp(width=narrow)
        # The wide model is the base: at its size muP is standard parametrization.
        made = plan(model, mlp(width=wide), rule="mup", optimizer=recipe.optimizer)
        made.initialize(model)
        members += [
            Member(model=model, table=made.table(model, lr=rate), seed=seed) for rate in RATES
        ]
    losses = train(members, recipe).losses.mean(1)
    return _cut(losses.reshape(seeds, len(RATES)).numpy())


def _stable(losses: np.ndarray) -> float:
    """Return log2 of the largest rate below which training is better than a guess."""
    places = np.log2(RATES)
    best = int(losses.argmin())
    for at in range(best, len(losses) - 1):
        low, high = losses[at], losses[at + 1]
        if low <= UNTRAINED < high:
            return float(places[at] + (UNTRAINED - low) / (high - low))
    return float(places[-1])


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    widths, narrow, seeds = setting["width"], setting["narrow"], setting["seeds"]
    recipe = Recipe(task=bench.digits(), steps=setting["steps"], batch=64, optimizer="adam")
    study = Study(
        mlp,
        width=widths,
        lr=RATES,
        rules=("sp",),
        optimizer=recipe.optimizer,
        task=recipe.task,
        steps=recipe.steps,
        batch=recipe.batch,
        seeds=seeds,
    )
    wide = bench.sweep(study)
    actual = {width: _actual(wide, width) for width in widths}
    with torch.random.fork_rng(devices=[]):
        simulated = {width: _simulated(narrow, width, recipe, seeds) for width in widths}
    values: dict[str, dict[str, Estimate]] = {"simulated": {}, "as it is": {}}
    measures = {BEST: lambda each: float(np.log2(RATES)[each.argmin()]), STABLE: _stable}
    for what, place in measures.items():
        goal = [place(actual[width]) for width in widths[1:]]
        found = {
            "simulated": [place(simulated[width]) for width in widths[1:]],
            "as it is": [place(actual[narrow])] * len(goal),
        }
        for rule, places in found.items():
            distance = np.abs(np.subtract(places, goal)).mean()
            values[rule][DISTANCE.format(what=what)] = exactly(float(distance))
    return Measured(values=values, figure=plot(_panels(widths, narrow, actual, simulated)))


def _panels(
    widths: list[int], narrow: int, actual: dict[int, np.ndarray], simulated: dict[int, np.ndarray]
) -> list[Plot]:
    return [
        Plot(
            title=title,
            x="learning rate",
            y="mean training loss",
            lines=[
                Series(name=f"{name} {width}", x=RATES, y=list(losses[width])) for width in widths
            ],
            log="x",
        )
        for title, name, losses in (
            ("SP, wide models", "width", actual),
            (f"Width {narrow}, simulating wide ones", "as width", simulated),
        )
    ]


def _claim(what: str, says: str) -> Claim:
    return Claim(
        says=says,
        quantity=DISTANCE.format(what=what),
        rule="simulated",
        wrong="as it is",
        expected=0.0,
        tolerance=0.5,
        sense="at most",
    )


EXPERIMENT = Experiment(
    title="Reverse transfer: a wide model's instability on a narrow one",
    source="Tensor Programs V, Figure 21",
    shows=(
        "Under standard parametrization a wide model diverges at rates at which a narrow one "
        "trains. Reverse transfer makes the narrow model the proxy of the wide one: it is "
        "parametrized by muP with the wide model as base, and shows the instability at the same "
        "rates, at a fraction of the compute. The paper debugged a model of width 8192 in this way."
    ),
    claims=(
        _claim(STABLE, "The narrow model, reparametrized, diverges at the rates of the wide one."),
        _claim(BEST, "And it trains best at the rates of the wide one."),
    ),
    measure=_measure,
    minutes=1.5,
)
