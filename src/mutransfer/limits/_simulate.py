"""Networks of finite width.

Axes: networks (one for each seed), width N, D dimensions of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array
from ._network import Field, Trained, train
from ._problem import MEMORY, Problem

_SMALLER = "give a smaller width or depth, or fewer steps or examples"

# Numbers held by the networks that are trained together: one gigabyte of double precision.
_LARGEST = 1 << 27


@dataclass(frozen=True, eq=False)
class FiniteDraw:
    """The weights of networks of one size, drawn from N(0, 1); a `Draw`.

    Attributes:
        problem: The problem, for its inputs.
        input: Weights W^0, (networks, width, D).
        hidden: Matrices of all branches, each (networks, width, width).
        output: Weights w, (networks, width).
    """

    problem: Problem
    input: Array
    hidden: list[Array]
    output: Array

    @classmethod
    def of(cls, problem: Problem, width: int, depth: int, seeds: Sequence[int]) -> FiniteDraw:
        """Draw one network for every seed, the same whatever others are drawn with it."""
        generators = [np.random.default_rng([seed, width, depth]) for seed in seeds]

        def normal(*shape: int) -> Array:
            return np.stack([generator.standard_normal(shape) for generator in generators])

        matrices = depth * problem.block_depth
        return cls(
            problem,
            normal(width, problem.inputs.shape[1]),
            [normal(width, width) for _ in range(matrices)],
            normal(width),
        )

    def embedding(self) -> Field:
        """Return W^0 x / sqrt(D) of every example."""
        x = self.problem.inputs
        return np.asarray(self.input @ x.T / np.sqrt(x.shape[1]))

    def matrices(self) -> list[_Given]:
        """Return the matrices of all branches."""
        return [_Given(weights) for weights in self.hidden]

    def readout(self, features: Field) -> Array:
        """Return w, whatever the features."""
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
    problem: Problem,
    width: int,
    depth: int,
    seeds: Sequence[int] | int = 1,
    *,
    together: int | None = None,
    memory: float = MEMORY,
) -> Float[Array, "seeds times examples"]:
    """Return the outputs of networks of finite width in training.

    They are those of explicit weights to rounding error, at any learning rate: the equations of
    2309.16620 in discrete time, without its gradient flow. Outputs of a network that diverged are
    not finite.

    Args:
        problem: Network, data and training.
        width: Width N.
        depth: Number of branches.
        seeds: Seeds, or their number: 0, 1, ...
        together: Networks that are trained at a time; by default as many as a gigabyte holds.
        memory: Memory that one network may take, in gigabytes.

    Raises:
        MutransferError: the width is not positive, the depth is not a finite whole number, there
            are no seeds, or a network takes more memory.
    """

    def outputs(run: Trained) -> Array:
        return run.outputs

    return simulate_each(problem, width, depth, seeds, outputs, together=together, memory=memory)


def simulate_each(
    problem: Problem,
    width: int,
    depth: int,
    seeds: Sequence[int] | int,
    of: Callable[[Trained], Array],
    *,
    together: int | None = None,
    memory: float = MEMORY,
) -> Float[Array, " seeds *any"]:
    """Return a quantity of networks of finite width.

    Errors are those of `simulate`.

    Args:
        problem: Network, data and training.
        width: Width N.
        depth: Number of branches.
        seeds: Seeds, or their number: 0, 1, ...
        of: The quantity of networks that are trained together, networks first.
        together: Networks that are trained at a time.
        memory: Memory that one network may take, in gigabytes.
    """
    chosen = seeds if isinstance(seeds, Sequence) else range(int(seeds))
    check_networks(problem, width, depth, chosen, memory)
    if together is None:
        together = _LARGEST // _numbers(problem, width, depth)
    step = max(1, together)
    groups = [chosen[i : i + step] for i in range(0, len(chosen), step)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([of(trained(problem, width, depth, group)) for group in groups])


def trained(problem: Problem, width: int, depth: int, seeds: Sequence[int]) -> Trained:
    """Train networks of finite width, with features and gradients of all layers.

    Raises:
        MutransferError: as of `simulate`.
    """
    check_networks(problem, width, depth, seeds)
    try:
        return train(problem, int(depth), FiniteDraw.of(problem, int(width), int(depth), seeds))
    except MemoryError:
        raise MutransferError(
            f"{len(seeds)} networks of width {width} and depth {depth} at a time do not fit into "
            f"the memory that is free: {_SMALLER}"
        ) from None


def check_networks(
    problem: Problem, width: int, depth: int, seeds: Sequence[int], memory: float = MEMORY
) -> None:
    """Raise unless there are such networks, and one of them fits into memory.

    Args:
        problem: Network, data and training.
        width: Width N.
        depth: Number of branches.
        seeds: Seeds.
        memory: Memory that one network may take, in gigabytes.

    Raises:
        MutransferError: as of `simulate`.
    """
    problem.check_depth(depth)
    if math.isinf(depth) or width < 1 or not len(seeds) or min(seeds) < 0:
        raise MutransferError(
            f"width {width}, depth {depth}, {len(seeds)} seeds: give a positive width, "
            "a finite depth, at least one seed, none negative"
        )
    size = 8 * _numbers(problem, int(width), int(depth)) / 2**30
    if size > memory:
        raise MutransferError(
            f"a network of width {width} and depth {depth} takes {size:.0f} GB, more than "
            f"{memory:g}: {_SMALLER}"
        )


def _numbers(problem: Problem, width: int, depth: int) -> int:
    """Return the numbers that one network holds at its peak."""
    matrices = depth * problem.block_depth
    # One matrix is copied while it is drawn; each layer and matrix keeps both of its fields.
    weights = width**2 * (matrices + 1)
    fields = 2 * (depth + 1 + matrices) * width * (problem.steps + 1) * len(problem.targets)
    return weights + fields
