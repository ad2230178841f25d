"""The solver of a problem."""

from __future__ import annotations

from ..core import OnProgress
from ._limit import Limit
from ._linear import linear
from ._nonlinear import nonlinear
from ._problem import Depth, Problem


def solve(
    problem: Problem,
    depth: Depth,
    *,
    accuracy: float = 0.01,
    seed: int = 0,
    seconds: float | None = None,
    progress: OnProgress | None = None,
) -> Limit:
    """Solve for the limit of infinite width.

    Linear branches of one matrix are solved exactly by `linear`, others are sampled by `nonlinear`.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, or math.inf.
        accuracy: Accuracy of `nonlinear`, as a share of the initial loss.
        seed: Seed of `nonlinear`.
        seconds: Time that `nonlinear` may spend; the limit has the error that was reached.
        progress: Called with the progress of `nonlinear`.

    Raises:
        MutransferError: as the two solvers.
        Diverged: the loss is hopeless.
        Unsettled: as `nonlinear`.
    """
    if problem.is_linear:
        return linear(problem, depth)
    return nonlinear(
        problem, depth, accuracy=accuracy, seed=seed, seconds=seconds, progress=progress
    )
