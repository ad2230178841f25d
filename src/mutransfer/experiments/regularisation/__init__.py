"""Tensor Programs V, Table 1: weight decay and dropout do not transfer over width."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...core import Estimate
from ...studies import OneAtATime, Runs, Study, log2
from ...tasks import Task
from .._bench import Bench, Experiment, Measured
from .._claim import Claim, exactly
from .._models import residual_perceptron
from .._one_at_a_time import WORDS, hyperparameter_panels
from .._plots import plot
from .._quantities import drift

RULE = "mup"
CENTRE = {"lr": 2**-7, "weight_decay": 2**-3, "dropout": 0.0}

DISTANCE = "drift of the best value, octaves per doubling of width"
DROPOUT = "best dropout of the widest network less that of the narrowest"

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "seeds": 1, "steps": {"few images": 6, "each image once": 3}},
    "small": {
        "width": [16, 32, 64, 128],
        "seeds": 3,
        "steps": {"few images": 200, "each image once": 22},
    },
    "full": {
        "width": [64, 128, 256, 512, 1024, 2048],
        "seeds": 10,
        "steps": {"few images": 2000, "each image once": 22},
    },
}

WRONG_LABELS = 0.3
"""Share of the labels in training that are drawn at random, so that networks overfit."""

KEPT_APART = {"few images": 0.8, "each image once": 0.2}
"""Share of the images for validation: few are left, or all are seen once."""


def _noisy(data: Task) -> Task:
    """Return the task with some of its labels drawn at random."""
    generator = torch.Generator().manual_seed(0)
    count = len(data.targets)
    wrong = torch.rand(count, generator=generator) < WRONG_LABELS
    labels = torch.randint(10, (count,), generator=generator)
    name = f"{data.name}, {WRONG_LABELS:.0%} of labels at random"
    return replace(data, name=name, targets=torch.where(wrong, labels, data.targets))


def _best_dropout(runs: Runs) -> Estimate:
    """Return the best dropout at the largest width less that at the smallest."""
    best = []
    for size in (runs.sizes(RULE)[0], runs.sizes(RULE)[-1]):
        values, losses = runs.losses(RULE, size, "dropout")
        best.append(values[int(losses.mean(0).argmin())])
    return exactly(best[1] - best[0])


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    values: dict[str, dict[str, Estimate]] = {}
    panels = []
    for data, share in KEPT_APART.items():
        study = Study(
            residual_perceptron,
            width=setting["width"],
            depth=[2],
            lr=log2(-13, -4),
            weight_decay=log2(-5, 3),
            hyperparameters={"dropout": [0.0, 0.2, 0.4, 0.6, 0.8]},
            design=OneAtATime(CENTRE),
            rules=(RULE,),
            optimizer="adamw",
            task=_noisy(bench.digits(validation=share)),
            steps=setting["steps"][data],
            seeds=setting["seeds"],
        )
        runs = bench.sweep(study, data.replace(" ", "-")).with_metric("validation")
        values[data] = {DROPOUT: _best_dropout(runs)}
        if data == "few images":
            values |= {
                WORDS[name]: {DISTANCE: drift(runs, RULE, "width", over=name)}
                for name in ("lr", "weight_decay")
            }
        panels += hyperparameter_panels(runs, RULE, "width", CENTRE, f"{data}: ")
    return Measured(values=values, figure=plot(panels))


EXPERIMENT = Experiment(
    title="Weight decay and dropout over width",
    source="Tensor Programs V, Table 1",
    shows=(
        "Residual perceptrons of several widths are trained on few images for many epochs, under "
        "muP, and validated on others. In the paper the best rate stays over width, and what "
        "regularises does not transfer: its best value depends on the size of the model and of "
        "the data, and has to be swept at the target. Where each image is seen once there is "
        "nothing to regularise."
    ),
    claims=(
        Claim(
            says="The best rate stays over width, also for the validation loss.",
            quantity=DISTANCE,
            rule="learning rate",
            wrong="weight decay",
            expected=0.0,
            tolerance=0.2,
        ),
        Claim(
            says="The best weight decay grows with width.",
            quantity=DISTANCE,
            rule="weight decay",
            wrong="learning rate",
            expected=0.3,
            sense="at least",
        ),
        Claim(
            says="The best dropout grows with width, where images are few.",
            quantity=DROPOUT,
            rule="few images",
            wrong="each image once",
            expected=0.2,
            sense="at least",
        ),
    ),
    measure=_measure,
    minutes=1.0,
    remark=(
        "The paper states this without a figure. So that networks overfit, 30% of the labels in "
        "training are drawn at random. The best dropout then grows with width, by one step of its "
        "grid; the best weight decay of AdamW stays as the best rate does, so that it cannot serve "
        "as the control of the first claim."
    ),
)
