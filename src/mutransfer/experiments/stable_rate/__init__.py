"""2505.22491: the largest stable rate over width, by rule and loss."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...core import Estimate
from ...studies import Runs, Study
from ...tasks import Task, mlp
from .._bench import Bench, Experiment, Measured
from .._claim import Claim
from .._plots import Plot, Series, plot
from .._quantities import slope

RULES, LOSSES = ("mup", "sp"), ("cross-entropy", "squared error")


def _rates(low: int, high: int) -> list[float]:
    """Return rates half an octave apart."""
    return [2.0 ** (halves / 2) for halves in range(2 * low, 2 * high + 1)]


SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"width": [8, 16], "lr": _rates(-6, 4), "seeds": 1, "steps": 20},
    "small": {"width": [64, 128, 256, 512], "lr": _rates(-5, 1), "seeds": 2, "steps": 40},
    "full": {"width": [64, 256, 1024, 4096], "lr": _rates(-14, 8), "seeds": 4, "steps": 500},
}

LARGEST = "{loss}: largest stable rate, exponent in width"


def squared_error(output: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of outputs against classes, one-hot."""
    # F.one_hot looks at the values of its targets, which stacked training cannot.
    classes = torch.arange(output.shape[-1], device=targets.device)
    return (output - (targets[..., None] == classes).to(output.dtype)).square().mean()


def _task(bench: Bench, loss: str) -> Task:
    digits = bench.digits()
    if loss == "cross-entropy":
        return digits
    return Task(
        name="digits, squared error",
        inputs=digits.inputs,
        targets=digits.targets,
        loss=squared_error,
    )


def _largest(runs: Runs, rule: str, width: int) -> float:
    """Return log2 of the largest rate at which a run ends below its first loss."""
    largest: dict[int, float] = {}
    for row in runs.rows:
        ends = row["status"] == "finished" and row["final"] < row["curve"][0]
        if (row["rule"], row["width"]) == (rule, width) and ends:
            largest[row["seed"]] = max(math.log2(row["lr"]), largest.get(row["seed"], -math.inf))
    return sum(largest.values()) / len(largest)


def _measure(bench: Bench) -> Measured:
    values: dict[str, dict[str, Estimate]] = {rule: {} for rule in RULES}
    panels = []
    for loss in LOSSES:
        study = Study(
            partial(mlp, depth=3),
            **bench.pick(SETTINGS),
            rules=RULES,
            optimizer="sgd",
            task=_task(bench, loss),
        )
        runs, lines = bench.sweep(study, loss.replace(" ", "-")), []
        widths = study.width or ()
        for rule in RULES:
            largest = [_largest(runs, rule, width) for width in widths]
            found = slope(widths, largest)
            values[rule][LARGEST.format(loss=loss)] = found
            name = f"{rule}: {found.value:+.2f}"
            lines.append(Series(name=name, x=widths, y=[2**each for each in largest]))
        panels.append(Plot(title=loss, x="width", y="largest stable rate", lines=lines, log="xy"))
    return Measured(values=values, figure=plot(panels))


def _claim(says: str, loss: str, rule: str, expected: float) -> Claim:
    return Claim(
        says=says,
        quantity=LARGEST.format(loss=loss),
        rule=rule,
        wrong="sp" if rule == "mup" else "mup",
        expected=expected,
        tolerance=0.2,
    )


EXPERIMENT = Experiment(
    title="The largest stable rate over width, by loss",
    source="On the Surprising Effectiveness of Large Learning Rates (2505.22491), Figure 2",
    shows=(
        "MLPs are trained by SGD at a grid of rates. The largest stable rate is the largest at "
        "which a run ends below its first loss. Under SP it falls as 1/width with the squared "
        "error, and as 1/sqrt(width) with the cross-entropy, which bears logits that diverge as "
        "long as features do not. Under muP it stays."
    ),
    claims=(
        _claim("With squared error SP is stable up to a rate of 1/width.", LOSSES[1], "sp", -1.0),
        _claim("With cross-entropy up to 1/sqrt(width).", LOSSES[0], "sp", -0.5),
        _claim("Under muP the largest stable rate stays: squared error.", LOSSES[1], "mup", 0.0),
        _claim("Under muP the largest stable rate stays: cross-entropy.", LOSSES[0], "mup", 0.0),
    ),
    measure=_measure,
    minutes=1.0,
    remark="From width 32 on, with one seed, exponents were too noisy to tell. At widths 64 to 512 "
    "SP with cross-entropy lies between muP and 1/sqrt(width), and the intervals of both rules "
    "overlap: two seeds and rates half an octave apart do not tell them apart. First the rate up "
    "to which all seeds are stable was taken; now it is the mean over seeds.",
)
