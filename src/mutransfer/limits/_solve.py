"""The right solver for a problem."""

from __future__ import annotations

from ._limit import Limit
from ._linear import linear
from ._nonlinear import Report, nonlinear
from ._problem import Depth, Problem


def solve(
    problem: Problem,
    depth: Depth,
    *,
    accuracy: float = 0.01,
    seed: int = 0,
    report: Report | None = None,
) -> Limit:
    """The limit of infinite width: exact by `linear` for linear branches of one matrix, otherwise sampled by `nonlinear`.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, or math.inf.
        accuracy: Of `nonlinear`, a share of the initial loss.
        seed: Of `nonlinear`.
        report: Of `nonlinear`.

    Raises:
        MutransferError: as the two solvers.
        Diverged: the loss is hopeless.
        Unsettled: as `nonlinear`.
    """
    if problem.is_linear:
        return linear(problem, depth)
    return nonlinear(problem, depth, accuracy=accuracy, seed=seed, report=report)
