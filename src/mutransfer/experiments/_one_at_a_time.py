"""Sweeps of one hyperparameter at a time: drifts of each, and a panel each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..certificates import transfer
from ..core import Estimate
from ..studies import Runs, scale_of
from ._claim import exactly
from ._plots import Plot, Series
from ._quantities import drift_of

WORDS = {
    "lr": "learning rate",
    "readout": "readout multiplier",
    "init": "initial scale",
    "schedule": "schedule",
    "weight_decay": "weight decay",
    "dropout": "dropout",
}
"""Hyperparameters in words."""

MOVES = "drift of the best {what}, octaves per doubling of {axis}"
ADVANTAGE = "largest change over {axis} of a schedule's gain over constant, in nats"


def moves(name: str, axis: str) -> str:
    """Return the name of the quantity that is a hyperparameter's drift."""
    return MOVES.format(what=WORDS[name], axis=axis)


def one_at_a_time(runs: Runs, axis: str) -> dict[str, dict[str, Estimate]]:
    """Return the drift of every hyperparameter, and the schedules' change, by rule.

    Args:
        runs: The record, of sizes along one axis.
        axis: The axis.
    """
    found = transfer(runs)
    measured: dict[str, dict[str, Estimate]] = {rule: {} for rule in runs.rules}
    for rule, values in measured.items():
        for each in (found, *found.others):
            if each.over == "schedule":
                values[ADVANTAGE.format(axis=axis)] = _changes(runs, rule)
            else:
                values[moves(each.over, axis)] = drift_of(runs, each[rule], axis)
    return measured


def _changes(runs: Runs, rule: str) -> Estimate:
    """Return the most that a schedule's gain differs between two sizes."""
    gains = []
    for size in runs.sizes(rule):
        values, losses = runs.losses(rule, size, "schedule")
        means = np.nan_to_num(losses.mean(0), posinf=1e3)
        gains.append(means[values.index("constant")] - means)
    return exactly(float(np.ptp(np.array(gains), axis=0).max()))


def hyperparameter_panels(
    runs: Runs, rule: str, axis: str, centre: Mapping[str, Any], title: str = ""
) -> list[Plot]:
    """Return a panel for each hyperparameter, with a line for each size.

    Args:
        runs: The record.
        rule: One of its rules.
        axis: The axis that the sizes differ in.
        centre: The value of each hyperparameter while the others vary.
        title: What stands before the name of the hyperparameter.
    """
    panels = []
    for name in runs.hyperparameters:
        lines = []
        for size in runs.sizes(rule):
            values, losses = runs.losses(rule, size, name)
            means = list(losses.mean(0))
            lines.append(Series(name=f"{axis} {size[axis]}", x=values, y=means))
        panels.append(
            Plot(
                title=f"{title}{WORDS[name]}",
                x=WORDS[name],
                y="mean training loss" if runs.metric == "mean" else f"{runs.metric} loss",
                lines=lines,
                log="x" if scale_of(name, values) == "log2" else "",
                top=_top(runs, rule, centre),
            )
        )
    return panels


def _top(runs: Runs, rule: str, centre: Mapping[str, Any]) -> float | None:
    """Return the first loss at the centre, about that of an untrained network."""
    rows: Sequence[Mapping[str, Any]] = [
        row
        for row in runs.rows
        if row["rule"] == rule and all(row[name] == value for name, value in centre.items())
    ]
    firsts = [row["curve"][0] for row in rows]
    return max(firsts) if firsts and all(map(math.isfinite, firsts)) else None
