"""Problems of linear networks."""

from typing import Any

import numpy as np

from mutransfer.limits import Problem


def problem(**changes: Any) -> Problem:
    """Four random inputs of six dimensions, two of either sign, which twenty steps learn."""
    inputs, targets = np.random.default_rng(1).normal(size=(4, 6)), np.array([1.0, -1.0, 1.0, -1.0])
    inputs[2:] *= -1
    return Problem(**{"inputs": inputs, "targets": targets, "lr": 0.1, "steps": 20, **changes})


def single(**changes: Any) -> Problem:
    """One example of norm 1."""
    return Problem(**{"inputs": [1.0], "targets": [1.3], "lr": 0.1, "steps": 12, **changes})
