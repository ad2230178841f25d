"""A problem whose finite networks are compared with their limit."""

from typing import Any

import numpy as np

from mutransfer.limits import Problem

WIDTHS = (16, 32, 64, 128)


def problem(**changes: Any) -> Problem:
    """Four random examples of six dimensions, of both signs."""
    inputs, targets = np.random.default_rng(0).normal(size=(4, 6)), np.array([1.0, -1.0, 1.0, -1.0])
    return Problem(**{"inputs": inputs, "targets": targets, "lr": 0.05, "steps": 10, **changes})
