"""What a solver returns, and the error of one that diverged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._activations import Array
from ._problem import Depth, Problem

HOPELESS = 100.0
"""Training has diverged once its loss is not finite or this many times its first value, as in ensembles."""

_ZERO = 1e-9


class Diverged(MutransferError):
    """The learning rate is too large for the limit; `step` is when that showed."""

    def __init__(self, problem: Problem, depth: Depth, step: int) -> None:
        self.step = step
        super().__init__(
            f"the limit of depth {depth} diverges at step {step} with lr {problem.lr:g}: the loss is not finite or "
            f"{HOPELESS:g} times its first value; give a smaller lr"
        )


def hopeless(first: Array, now: Array) -> Array:
    """Whether training with these losses, at first and now, has diverged; one that starts at 0, to rounding, or below has no scale."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(~np.isfinite(now) | ((first > _ZERO) & (now > HOPELESS * first)))


def loss_scale(losses: Float[Array, " times"]) -> float:
    """The size of the initial loss; of the largest where that is 0, to rounding."""
    first = float(abs(losses[0]))
    return first if first > _ZERO else float(np.abs(losses).max())


def check_outputs(
    problem: Problem, depth: Depth, outputs: Float[Array, "times examples"], step: int
) -> None:
    """Refuse to go on once the loss of this step is hopeless.

    Raises:
        Diverged: it is.
    """
    if hopeless(*problem.losses(outputs[[0, step]])):
        raise Diverged(problem, depth, step)


@dataclass(frozen=True, kw_only=True, eq=False)
class Limit:
    """Training in the limit of infinite width. Time t is before step t; the last time is after the last step.

    Attributes:
        problem: What was solved.
        depth: Number of branches, or math.inf.
        layers: The layer time l / L of every recorded layer, (layers,), from 0 to 1.
        outputs: f, (times, examples).
        losses: Mean loss over all examples, (times,).
        features: Kernel <h^l_mu(t) h^l_nu(s)> of every layer, (layers, times, examples, times, examples).
        gradients: Kernel <g^l(t) g^l(s)> with g = gamma0 N df/dh, (layers, times, times) in a linear network, where it has no examples,
            otherwise (layers, times, examples, times, examples).
        responses: What the solver knows of how one weight matrix answers to its own use, by name; see the solver.
        outputs_error: Error of the outputs, (times, examples): their standard error where sites are sampled, and at infinite depth the
            last order of extrapolation.
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
        first, last, error = (
            self.losses[0],
            self.losses[-1],
            float(np.broadcast_to(self.losses_error, self.losses.shape)[-1]),
        )
        spread = f" +- {error:.2g}" if error else ""
        return f"infinite width, depth {self.depth:g}: loss {first:.4g}, after {self.problem.steps} steps {last:.4g}{spread}"


class Unsettled(MutransferError):
    """The accuracy takes more samples than are reasonable; `limit` is the best that was found, with its errors."""

    def __init__(self, limit: Limit, accuracy: float) -> None:
        self.limit = limit
        super().__init__(
            f"the limit of depth {limit.depth} at lr {limit.problem.lr:g} does not reach the accuracy {accuracy:g} with {limit.samples} "
            "samples a repetition, as happens near the rate at which training diverges; "
            "give a larger accuracy, more repetitions or a smaller lr"
        )


_WEIGHTS = {2: (-1, 2), 3: (1 / 3, -2, 8 / 3)}
"""What removes the error's first powers of 1 / depth, by the number of stacks."""


def extrapolated(stacks: Sequence[Limit]) -> Limit:
    """Infinite depth from two or three stacks of which each has twice the branches of the one before, to that order in 1 / depth.

    Responses fall as the root of the depth, and are multiplied by it.
    """
    coarse, weights, steps = stacks[0], _WEIGHTS[len(stacks)], [1 << i for i in range(len(stacks))]

    def combined(values: Sequence[Array], upper: int = 0) -> Array:
        """What the stacks have at the nodes of the coarsest; of a branch's two ends the lower, or the upper."""
        own = [value[upper * (step - 1) :: step] for step, value in zip(steps, values, strict=True)]
        return np.asarray(sum(weight * value for weight, value in zip(weights, own, strict=True)))

    def response(name: str, upper: int) -> Array:
        return combined(
            [each.responses[name] * np.sqrt(len(each.layers) - 1) for each in stacks], upper
        )

    outputs = np.asarray(
        sum(weight * each.outputs for weight, each in zip(weights, stacks, strict=True))
    )
    return replace(
        coarse,
        outputs=outputs,
        losses=coarse.problem.losses(outputs),
        features=combined([each.features for each in stacks]),
        gradients=combined([each.gradients for each in stacks]),
        responses={
            name: response(name, upper)
            for name, upper in (("forward", 0), ("backward", 1))
            if name in coarse.responses
        },
    )
