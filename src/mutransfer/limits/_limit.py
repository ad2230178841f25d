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

# Means of numbers of order 1 that are smaller than this are rounding.
_ROUNDED = 1e-12


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


def loss_scale(problem: Problem, losses: Float[Array, " times"]) -> float:
    """Return the size of the initial loss; of the largest where it is 0, to rounding.

    Where all are 0 to rounding, as with targets of 0, it is what rounding cannot reach: noise has
    no scale that its errors could be a share of.
    """
    first = float(abs(losses[0]))
    if first > ZERO:
        return first
    # Outputs are means over neurons of w h / gamma0, and losses their squares.
    return max(float(np.abs(losses).max()), (_ROUNDED / problem.gamma0) ** 2)


def diagonal(
    kernel: Float[Array, "*any times examples times examples"],
) -> Float[Array, "*any times examples examples"]:
    """Return the products of one time of a kernel of all times."""
    return np.asarray(np.moveaxis(np.diagonal(kernel, axis1=-4, axis2=-2), -1, -3))


def linear_tangent(problem: Problem, features: Array, gradients: Array, rate: float) -> Array:
    """Return the tangent kernel of a linear network, (times, examples, examples).

    Args:
        problem: The problem.
        features: Kernels of features, (layers, times, examples, times, examples).
        gradients: Kernels of gradients, (layers, times, times).
        rate: Square of the factor of a branch, times the factor of the rate of its weights.
    """
    of_features = diagonal(features)
    of_gradients = np.diagonal(gradients, axis1=1, axis2=2)[:, :, None, None]
    kernel = rate * (of_gradients[1:] * of_features[:-1]).sum(0)
    if problem.train_readout:
        kernel = kernel + of_features[-1]
    if problem.train_input:
        kernel = kernel + of_gradients[0] * problem.gram
    return np.asarray(kernel)


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
        outputs_error: Error of the outputs, (times, examples): 1.96 of it is half the 95% interval.
            Where sites are sampled it is the standard error times Student's t over 1.96. At
            infinite depth it holds the last order of extrapolation as well.
        losses_error: The same of the losses, (times,).
        tangent: Tangent kernel at every time, (times, examples, examples), all matrices together:
            gradient flow changes outputs by lr x kernel x the negative derivatives of the loss.
        features_error: The same as outputs_error, of the covariance <h h> of the last layer at one
            time, (times, examples, examples).
        tangent_error: The same, of the tangent kernel.
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
    tangent: Array = field(default_factory=lambda: np.zeros(()))
    features_error: Array = field(default_factory=lambda: np.zeros(()))
    tangent_error: Array = field(default_factory=lambda: np.zeros(()))
    samples: int = 0

    def __str__(self) -> str:
        first, last = self.losses[0], self.losses[-1]
        error = float(np.broadcast_to(self.losses_error, self.losses.shape)[-1])
        spread = f" +- {error:.2g}" if error else ""
        return (
            f"infinite width, depth {self.depth:g}: loss {first:.4g}, "
            f"after {self.problem.steps} steps {last:.4g}{spread}"
        )

    @property
    def reached(self) -> float:
        """Half width of the loss's 95% interval, at the worst step, over the first loss."""
        return float(1.96 * np.max(self.losses_error) / loss_scale(self.problem, self.losses))

    @property
    def covariance(self) -> Float[Array, "times examples examples"]:
        """Covariance <h_mu h_nu> of the last layer's features, at every time."""
        return diagonal(self.features[-1])

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
                *("outputs_error", "losses_error", "tangent"),
                *("features_error", "tangent_error"),
            )
            return cls(
                problem=Problem.from_json(given["problem"]),
                depth=size(given["depth"]),
                responses={name: array(values) for name, values in given["responses"].items()},
                samples=int(given["samples"]),
                **{name: array(given[name]) for name in arrays if name in given},
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
