"""Studies whose losses are a formula of rule, size, hyperparameters and seed."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mutransfer import Study, Trial, log2

Formula = Callable[[str, int, Mapping[str, Any]], float]
"""The loss of a rule, a width and a point; infinite where training diverges."""


def landscape(formula: Formula, noise: float = 0.0, **changes: Any) -> Study:
    """A study of two rules and four widths that trains by a formula."""

    def train(trial: Trial) -> None:
        loss = formula(trial.rule, trial.size["width"], trial.hyperparameters)
        draw = np.random.default_rng([trial.seed, trial.size["width"]])
        slope, offset = draw.standard_normal(2)
        # A seed shifts its own optimum, and the whole curve.
        loss += noise * (offset + slope * math.log2(trial.lr))
        trial.report(1, loss if math.isfinite(loss) else 1.0)
        trial.report(2, loss)

    grid: dict[str, Any] = {
        "width": [8, 16, 32, 64],
        "lr": log2(-8, -2),
        "seeds": 3,
        "rules": ["sp", "mup"],
        "steps": 2,
    }
    return Study(None, train=train, **grid | changes)


def valley(place: float, best: float) -> float:
    """A valley that is steeper on the right, with a cliff three octaves above the best place."""
    away = place - best
    if away > 3:
        return math.inf
    return 0.5 + 0.05 * away**2 * (1.5 if away > 0 else 1.0)
