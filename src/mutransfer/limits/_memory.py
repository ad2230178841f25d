"""Optimizers that are linear in the gradient: what every step still holds of the initial weights and of each gradient before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._activations import Array
from ._problem import Problem


@dataclass(frozen=True)
class Memory:
    """theta_t = kept[t] theta_0 - sum over s < t of moved[t, s] grad_s, for SGD with momentum, decay, any schedule and any batches.

    Attributes:
        kept: (times,).
        moved: (times, times), zero on and above the diagonal.
        kept_input: What is kept of the input's weights, (times,); all of them where they are frozen, which decay does not touch.
        kept_readout: The same of the readout's.
    """

    kept: Float[Array, " times"]
    moved: Float[Array, "times times"]
    kept_input: Float[Array, " times"]
    kept_readout: Float[Array, " times"]


def memory(problem: Problem) -> Memory:
    """The memory of the problem's optimizer, from a roll-out of torch.optim.SGD's recursion on coefficients."""
    times = problem.steps + 1
    weights = np.zeros((times, times + 1))
    weights[0, 0] = 1.0
    buffer = np.zeros(times + 1)
    for step in range(problem.steps):
        descent = -problem.weight_decay * weights[step]
        descent[1 + step] += 1.0
        buffer = descent if step == 0 else problem.momentum * buffer + descent
        taken = descent + problem.momentum * buffer if problem.nesterov else buffer
        weights[step + 1] = weights[step] + problem.rates[step] * taken
    kept, frozen = weights[:, 0].copy(), np.ones(times)
    return Memory(
        kept=kept,
        moved=weights[:, 1:].copy(),
        kept_input=kept if problem.train_input else frozen,
        kept_readout=kept if problem.train_readout else frozen,
    )
