"""Tensor Programs V, Table 12: a narrow ResNet's rate for a wide one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ...core import Estimate
from ...studies import Runs, Study, log2
from ...tasks import Task, resnet
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import mean

RULES = ("sp", "mup")
ACCURACY = "accuracy of the wide network less the narrow one's, in percentage points"
LOSS = "mean training loss of the wide network less the narrow one's, in nats"
METRICS = {ACCURACY: ("accuracy", 100), LOSS: ("loss", 1)}
"""Metric of a quantity, and the factor that makes its unit."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (8, 16), "seeds": 1, "steps": 2, "batch": 4, "side": 8, "stages": 1},
    "small": {"widths": (16, 64), "seeds": 2, "steps": 80, "batch": 16, "side": 16, "stages": 2},
    "full": {"widths": (32, 256), "seeds": 15, "steps": 4000, "batch": 64, "side": 32, "stages": 3},
}


def _shrunk(images: Any, side: int) -> Tensor:
    """Return pictures of this side; digits are vectors of 8 by 8."""
    assert isinstance(images, Tensor)
    pictures = images if images.dim() == 4 else images.view(-1, 1, 8, 8)
    return F.adaptive_avg_pool2d(pictures, side)


def _pictures(task: Task, side: int) -> Task:
    assert task.validation is not None
    inputs, targets = task.validation
    return replace(
        task,
        name=f"{task.name}, {side} by {side}",
        inputs=_shrunk(task.inputs, side),
        validation=(_shrunk(inputs, side)[:1000], targets[:1000]),
    )


def _of(runs: Runs, rule: str, metric: str) -> list[float]:
    """Return a metric of a rule's runs, by seed; not a number for those that diverged."""
    rows = sorted((row for row in runs.rows if row["rule"] == rule), key=lambda row: row["seed"])
    values = [row.get(metric) for row in rows]
    return [math.nan if value is None else value for value in values]


def _changes(tuned: Runs, target: Runs, rule: str) -> dict[str, Estimate]:
    """Return how the wide network of a rule differs from the narrow one, seed by seed."""
    return {
        quantity: mean(
            [factor * (wide - narrow) for wide, narrow in zip(after, before, strict=True)]
        )
        for quantity, (metric, factor) in METRICS.items()
        for after, before in [(_of(target, rule, metric), _of(tuned, "mup", metric))]
    }


def _measure(bench: Bench) -> Measured:
    setting = bench.pick(SETTINGS)
    task = _pictures(bench.images(validation=True), setting["side"])
    assert isinstance(task.inputs, Tensor)
    narrow, wide = setting["widths"]
    common: dict[str, Any] = {
        "base": {"width": narrow},
        "depth": [1],
        "optimizer": "sgd",
        "hyperparameters": {"stages": setting["stages"], "channels": task.inputs.shape[1]},
        "task": task,
        **{name: setting[name] for name in ("seeds", "steps", "batch")},
    }
    # At its base muP is standard parametrization: one sweep is that of both.
    study = Study(resnet, width=[narrow], lr=log2(-6, 2), rules=("mup",), **common)
    proxy = bench.sweep(study, "proxy")
    rate = proxy.best_rate("mup", proxy.sizes("mup")[0])
    assert rate is not None
    target = bench.sweep(replace(study, width=(wide,), lr=(rate,), rules=RULES), "target")
    tuned = replace(proxy, rows=[row for row in proxy.rows if row["lr"] == rate])
    values = {rule: _changes(tuned, target, rule) for rule in RULES}
    return Measured(values=values, figure=plot([_sweep(proxy, narrow), _curves(target, wide)]))


def _sweep(proxy: Runs, width: int) -> Plot:
    rates, losses = proxy.losses("mup", proxy.sizes("mup")[0])
    line = Series(name="", x=rates, y=list(losses.mean(0)))
    title = f"The narrow network, {width} channels"
    return Plot(title=title, x="learning rate", y="mean training loss", lines=[line], log="x")


def _curves(target: Runs, width: int) -> Plot:
    lines = []
    for rule in RULES:
        curve = next(row["curve"] for row in target.rows if row["rule"] == rule)
        lines.append(Series(name=rule, x=list(range(len(curve))), y=curve))
    title = f"The wide network, {width} channels"
    return Plot(title=title, x="part of the run", y="training loss", lines=lines)


EXPERIMENT = Experiment(
    title="A ResNet's rate, tuned narrow and used wide",
    source="Tensor Programs V, Table 12",
    shows=(
        "The rate of a residual network of convolutions is tuned on a narrow network with SGD, and "
        "used on one four times as wide, under standard parametrization and under muP. In the "
        "paper, from half to eight times the width on CIFAR-10, the accuracy of the wide network "
        "is higher with muP (95.29%, against 94.86%)."
    ),
    claims=(
        Claim(
            says="At the narrow network's rate the wide one is more accurate under muP, not SP.",
            quantity=ACCURACY,
            rule="mup",
            wrong="sp",
            expected=0.0,
            sense="at least",
        ),
        Claim(
            says="Under muP the wide network learns faster than the one that was tuned.",
            quantity=LOSS,
            rule="mup",
            wrong="sp",
            expected=0.0,
            sense="at most",
        ),
    ),
    measure=_measure,
    minutes=2.0,
    remark="At small scale images are shrunk to 16 by 16, and training is 80 steps.",
)
