"""The result of a solver, and the errors of one that has none.

Axes: recorded layers, T times (time t is before step t, the last one after the last step), P
examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Result, parsed, parsing
from ..statistics import HOPELESS, ZERO, Array, hopeless
from ._json import array, fields_of, size
from ._problem import Depth, Problem


class Diverged(MutransferError):
    """The learning rate is too large for the limit.

    Attributes:
        step: First step whose loss is hopeless.
    """

    def __init__(self, problem: Problem, depth: Depth, step: int) -> None:
        self.step = step
        super().__init__(
            f"the limit of depth {depth} diverges at step {step} with lr {problem.lr:g}: "
            f"the loss is not finite or {HOPELESS:g} times its first value; give a smaller lr"
        )


def loss_scale(losses: Float[Array, " times"]) -> float:
    """Return the size of the initial loss; of the largest where it is 0, to rounding."""
    first = float(abs(losses[0]))
    return first if first > ZERO else float(np.abs(losses).max())


def check_outputs(
    problem: Problem, depth: Depth, outputs: Float[Array, "times examples"], step: int
) -> None:
    """Raise if the loss of this step is hopeless.

    Raises:
        Diverged: it is.
    """
    if hopeless(*problem.losses(outputs[[0, step]])):
        raise Diverged(problem, depth, step)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Limit(Result):
    """Training in the limit of infinite width.

    Attributes:
        problem: The problem that was solved.
        depth: Number of branches, or math.inf.
        layers: Layer time l / L of every recorded layer, (layers,), from 0 to 1.
        outputs: Outputs f, (times, examples).
        losses: Mean loss over all examples, (times,).
        features: Kernel <h^l_mu(t) h^l_nu(s)> of every layer,
            (layers, times, examples, times, examples).
        gradients: Kernel <g^l(t) g^l(s)> with g = gamma0 N df/dh. In a linear network it has no
            examples, (layers, times, times); otherwise (layers, times, examples, times, examples).
        responses: Answers of a weight matrix to its own use, by name; see the solver.
        outputs_error: Error of the outputs, (times, examples). It is the standard error where sites
            are sampled, and at infinite depth the last order of extrapolation.
        losses_error: The same of the losses, (times,).
        samples: Number of sampled sites a repetition; 0 where nothing was drawn.
    """

    problem: Problem
    depth: Depth
    layers: Float[Array, " layers"]
    outputs: Float[Array, "times examples"]
    losses: Float[Array, " times"]
    features: Array
    gradients: Array
    responses: dict[str, Array] = field(default_factory=dict)
    outputs_error: Array = field(default_factory=lambda: np.zeros(()))
    losses_error: Array = field(default_factory=lambda: np.zeros(()))
    samples: int = 0

    def __str__(self) -> str:
        first, last = self.losses[0], self.losses[-1]
        error = float(np.broadcast_to(self.losses_error, self.losses.shape)[-1])
        spread = f" +- {error:.2g}" if error else ""
        return (
            f"infinite width, depth {self.depth:g}: loss {first:.4g}, "
            f"after {self.problem.steps} steps {last:.4g}{spread}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; the kernels of long training are large."""
        return fields_of(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the limit that `to_json` wrote.

        Raises:
            MutransferError: the data is no limit.
        """
        with parsing("a limit written by Limit.to_json"):
            given = parsed(data)
            arrays = (
                *("layers", "outputs", "losses", "features", "gradients"),
                *("outputs_error", "losses_error"),
            )
            return cls(
                problem=Problem.from_json(given["problem"]),
                depth=size(given["depth"]),
                responses={name: array(values) for name, values in given["responses"].items()},
                samples=int(given["samples"]),
                **{name: array(given[name]) for name in arrays},
            )


class Unsettled(MutransferError):
    """The accuracy takes more samples than are reasonable.

    Attributes:
        limit: The best limit that was found, with its errors.
    """

    def __init__(self, limit: Limit, accuracy: float) -> None:
        self.limit = limit
        super().__init__(
            f"the limit of depth {limit.depth} at lr {limit.problem.lr:g} does not reach the "
            f"accuracy {accuracy:g} with {limit.samples} samples a repetition, as happens near the "
            "rate at which training diverges; give a larger accuracy, more repetitions or a "
            "smaller lr"
        )
