"""Problems of networks with any activation, and their limits."""

from functools import cache
from typing import Any

import numpy as np

from mutransfer.limits import Activation, Limit, Problem, nonlinear, simulate

Array = np.ndarray[Any, np.dtype[np.float64]]
INPUTS, TARGETS = np.random.default_rng(1).normal(size=(2, 6)), np.array([1.0, -1.0])
SOFTPLUS = Activation("softplus", lambda x: np.logaddexp(0.0, x), lambda x: 1 / (1 + np.exp(-x)))
CASES: dict[str, dict[str, Any]] = {
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
    "abs post": {"activation": "abs", "block": "post"},
    "tanh pre of two": {"activation": "tanh", "block_depth": 2, "lr": 0.2},
    "relu post of two": {"activation": "relu", "block": "post", "block_depth": 2},
    "softplus post": {"activation": SOFTPLUS, "block": "post"},
}


def problem(**changes: Any) -> Problem:
    """Two random inputs of six dimensions, of opposite targets, which six steps learn."""
    return Problem(**{"inputs": INPUTS, "targets": TARGETS, "lr": 0.3, "steps": 6, **changes})


@cache
def solved(case: str) -> Limit:
    """The limit of depth 2."""
    return nonlinear(problem(**CASES[case]), 2, accuracy=0.01)


@cache
def networks(case: str) -> dict[int, Array]:
    """Outputs of networks of depth 2, by width."""
    seeds = {32: 250, 64: 200, 128: 80, 256: 20}
    return {width: simulate(problem(**CASES[case]), width, 2, seeds[width]) for width in seeds}
