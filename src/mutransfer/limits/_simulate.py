"""Networks of finite width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._activations import Array
from ._network import Field, Trained, run, streams
from ._problem import Problem

_LARGEST = 1 << 27
"""Entries of the weights of the networks that are trained together."""


@dataclass(frozen=True)
class FiniteDraw:
    """The weights of networks of one size, drawn from N(0, 1).

    Attributes:
        problem: For the inputs.
        input: W^0, (networks, width, D).
        hidden: The matrices of all branches, each (networks, width, width).
        output: w, (networks, width).
    """

    problem: Problem
    input: Array
    hidden: list[Array]
    output: Array

    @classmethod
    def of(cls, problem: Problem, width: int, depth: int, seeds: Sequence[int]) -> FiniteDraw:
        """One network for every seed, the same whatever others are drawn beside it."""
        draws = [np.random.default_rng([seed, width, depth]) for seed in seeds]
        dimension = problem.inputs.shape[1]
        return cls(
            problem,
            np.stack([draw.standard_normal((width, dimension)) for draw in draws]),
            [
                np.stack([draw.standard_normal((width, width)) for draw in draws])
                for _ in range(depth * problem.block_depth)
            ],
            np.stack([draw.standard_normal(width) for draw in draws]),
        )

    def embedding(self) -> Field:
        """See Draw."""
        return np.asarray(
            self.input @ self.problem.inputs.T / np.sqrt(self.problem.inputs.shape[1])
        )

    def matrices(self) -> list[_Given]:
        """See Draw."""
        return [_Given(weights) for weights in self.hidden]

    def readout(self, features: Field) -> Array:
        """See Draw."""
        return self.output[..., None]


@dataclass(frozen=True)
class _Given:
    """A matrix of given weights."""

    weights: Array

    def forward(self, x: Field) -> Field:
        return np.asarray(self.weights @ x / np.sqrt(x.shape[-2]))

    def backward(self, y: Field) -> Field:
        return np.asarray(np.swapaxes(self.weights, -1, -2) @ y / np.sqrt(y.shape[-2]))


def simulate(
    problem: Problem, width: int, depth: int, seeds: Sequence[int] | int = 1
) -> Float[Array, "seeds times examples"]:
    """The outputs of networks of finite width during training, float64; not finite where one diverged.

    The training is that of explicit weights to rounding error, for any learning rate (2309.16620; no gradient-flow approximation).

    Args:
        problem: Network, data and training.
        width: N.
        depth: Number of branches.
        seeds: Seeds, or how many: 0, 1, ...

    Raises:
        MutransferError: the width is not positive, the depth is not a finite whole number, there are no seeds.
    """
    chosen = seeds if isinstance(seeds, Sequence) else range(int(seeds))
    _check(problem, width, depth, chosen)
    together = max(
        1,
        _LARGEST
        // (
            width**2 * max(1, depth * problem.block_depth)
            + 2 * width * problem.steps * len(problem.targets)
        ),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate(
            [
                trained(problem, width, depth, chosen[i : i + together]).outputs
                for i in range(0, len(chosen), together)
            ]
        )


def _check(problem: Problem, width: int, depth: int, seeds: Sequence[int]) -> None:
    problem.check_depth(depth)
    if math.isinf(depth) or width < 1 or not len(seeds) or min(seeds) < 0:
        raise MutransferError(
            f"width {width}, depth {depth}, {len(seeds)} seeds: give a positive width, a finite depth, at least one seed, none negative"
        )


def network_stream(
    problem: Problem, width: int, depth: int, seed: int = 0
) -> Float[Array, "layers times examples width"]:
    """The residual stream of one network of finite width, at every layer and time, as `feature_diversity` takes it.

    Raises:
        MutransferError: as of `simulate`.
    """
    _check(problem, width, depth, [seed])
    return streams(trained(problem, width, depth, [seed]).features, len(problem.targets))[..., 0, :]


def trained(problem: Problem, width: int, depth: int, seeds: Sequence[int]) -> Trained:
    """As `simulate`, with the features and gradients of all layers."""
    return run(problem, int(depth), FiniteDraw.of(problem, int(width), int(depth), seeds))
