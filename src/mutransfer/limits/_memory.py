"""Optimizers that are linear in the gradient, as a memory of the past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..statistics import Array
from ._problem import Problem


@dataclass(frozen=True, eq=False)
class Memory:
    """Weights as sums over the past.

    For SGD with momentum, decay, any schedule and any batches,
    theta_t = kept[t] theta_0 - sum over s < t of moved[t, s] grad_s. Both depend on the optimizer
    alone, not on width or depth, which is why momentum, schedules and decay transfer as rates do.

    Attributes:
        kept: Share of the initial weights at every time, (times,).
        moved: Share of every past gradient, (times, times); zero on and above the diagonal.
        kept_input: Share of the input's initial weights, (times,). Frozen weights, which decay does
            not touch, are kept whole.
        kept_readout: The same of the readout's.
    """

    kept: Float[Array, " times"]
    moved: Float[Array, "times times"]
    kept_input: Float[Array, " times"]
    kept_readout: Float[Array, " times"]


def memory(problem: Problem) -> Memory:
    """Return the memory of a problem's optimizer.

    The recursion of torch.optim.SGD is rolled out on coefficients: column 0 is that of theta_0,
    column 1 + s that of minus the gradient at step s.
    """
    times = problem.steps + 1
    weights = np.zeros((times, times + 1))
    weights[0, 0] = 1.0
    buffer = np.zeros(times + 1)
    for step in range(problem.steps):
        descent = -problem.weight_decay * weights[step]
        descent[1 + step] += 1.0
        # torch fills the buffer with the first gradient, undamped.
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
