"""The programme as one study, and the controls of its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core import Size
from ...rules import HorizonRule, powers
from ...studies import OneAtATime, Study, log2
from ...tasks import gpt
from ._models import post_norm_gpt

AXES = ("width", "depth", "batch", "context", "steps")
RULE = "mup"

PLAIN, POST_NORM, ROOT = "mup, without lr", "post-norm", "rate times √(batch / steps)"
"""The controls: of width, of depth, of batch and training time."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "usual": {"context": 8, "width": 16, "depth": 1, "batch": 2, "steps": 3},
        "axes": {
            "width": [16, 32],
            "depth": [1, 2],
            "batch": [2, 4],
            "context": [4, 8],
            "steps": [3, 6],
        },
        "lr": log2(-7, -5),
        "readout": log2(-1, 1),
        "init": log2(-1, 1),
        "schedule": ["constant", "linear"],
        "centre": {"lr": 2**-6},
        "seeds": 1,
    },
    "small": {
        "usual": {"context": 32, "width": 32, "depth": 1, "batch": 4, "steps": 60},
        "axes": {
            "width": [32, 64, 128],
            "depth": [1, 2, 4],
            "batch": [4, 8, 16],
            "context": [16, 32, 64],
            "steps": [60, 120, 240],
        },
        "lr": log2(-8, -3),
        "readout": [2.0**power for power in (-4, -2, 0, 2, 4)],
        "init": log2(-3, 2),
        "schedule": ["constant", "linear", "cosine", "inverse-sqrt"],
        "centre": {"lr": 2**-6},
        "seeds": 2,
    },
    "full": {
        "usual": {"context": 32, "width": 64, "depth": 2, "batch": 16, "steps": 5000},
        "axes": {
            "width": [32, 64, 128, 256],
            "depth": [1, 2, 4, 8, 16],
            "batch": [4, 8, 16, 32, 64],
            "context": [8, 16, 32, 64, 128],
            "steps": [1250, 2500, 5000, 10000, 20000],
        },
        "lr": log2(-15, -2),
        "readout": log2(-6, 6),
        "init": log2(-6, 5),
        "schedule": ["constant", "linear", "cosine", "wsd", "step", "inverse-sqrt"],
        "centre": {"lr": 2**-8},
        "seeds": 5,
    },
}
"""Sizes and values by scale; at full scale, 4,200 runs.

Context stands first, as sizes are sorted: the first one must have the base's context, the smallest.
"""

_ROOT = HorizonRule(
    name="root",
    title="the rate follows the square root of the batch, and falls with that of the steps",
    source="a control; the factors are those of 2512.22382, Table 1, with the betas as they are",
    optimizers=("adam",),
    assumptions=("none: it is there to be compared with a rate that stays",),
    batch=(0.0, float("inf")),
    tokens=(0.0, float("inf")),
    range_source="a control has no range",
    # batch / sqrt(tokens) = sqrt(batch / steps), as tokens = batch · steps.
    lr=powers(batch=1, tokens="-1/2"),
)


def programme(
    setting: Mapping[str, Any], task: Any = "pydocs", axes: Sequence[str] = AXES, **other: Any
) -> Study:
    """Return the study of four hyperparameters over five axes, one at a time.

    Args:
        setting: The usual size, the values of every axis and hyperparameter, the centre, and the
            seeds, as those of `SETTINGS`.
        task: The name of a text, its path, or a function of the context that returns a task.
        axes: The axes that vary.
        other: What else the study takes, or has otherwise.
    """
    usual, lines = setting["usual"], setting["axes"]
    values: dict[str, Any] = {
        "axes": [usual | {axis: value} for axis in axes for value in lines[axis]],
        "base": {axis: lines[axis][0] for axis in ("width", "depth")},
        "design": OneAtATime(setting["centre"]),
        "rules": (RULE,),
        "optimizer": "adam",
        "task": task,
        **{name: setting[name] for name in ("lr", "readout", "init", "schedule", "seeds")},
    }
    return Study(**{"build": gpt, **values, **other})


def controls(setting: Mapping[str, Any], task: Any = "pydocs") -> dict[str, Study]:
    """Return the study of every control: the wrong rule, network or rate, on its axes.

    Args:
        setting: The setting of the programme.
        task: Its task.
    """
    rates: dict[str, Any] = {"readout": None, "init": None, "schedule": None}
    return {
        PLAIN: programme(setting, task, ["width"], rules=(PLAIN,)),
        POST_NORM: programme(setting, task, ["depth"], build=post_norm_gpt),
        ROOT: programme(
            setting, task, ["batch", "steps"], horizon=_ROOT, design=OneAtATime(), **rates
        ),
    }


def sizes_along(setting: Mapping[str, Any], axis: str) -> list[Size]:
    """Return the sizes that differ from the usual one along one axis alone."""
    return [Size(setting["usual"] | {axis: value}) for value in setting["axes"][axis]]
