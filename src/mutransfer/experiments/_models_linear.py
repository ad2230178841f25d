"""The deep linear network of Tensor Programs VI, Section 4, and its limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import MutransferError
from ..limits import Problem, linear, problem_of
from ..statistics import Array

LAYERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Places in depth, as shares of all layers, whose features are compared."""


def linear_network(examples: int, steps: int, **settings: Any) -> Problem:
    """Return linear residual branches, trained by SGD on one digit a step.

    Input and readout stay as they are drawn, as in the paper's Section 4.
    """
    batches = [[step % examples] for step in range(steps)]
    return problem_of(
        "digits",
        examples=examples,
        steps=steps,
        batches=batches,
        train_input=False,
        train_readout=False,
        **settings,
    )


def limit_sizes(problem: Problem, depth: float) -> Array:
    """Return the RMS of features at infinite width, (places, times, examples).

    Raises:
        MutransferError: no layer lies at one of the places.
    """
    solved = linear(problem, depth)
    rows = [int(np.argmin(np.abs(solved.layers - place))) for place in LAYERS]
    if not np.allclose(solved.layers[rows], LAYERS):
        raise MutransferError(f"depth {depth:g} has no layers at {LAYERS}")
    squares = np.einsum("ltmtm->ltm", solved.features[rows])
    return np.asarray(np.sqrt(squares))
