"""Linear residual networks of infinite width, at any depth: an exact solver."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from ..core import MutransferError
from ._coefficients import march
from ._extrapolation import extrapolated
from ._imbedding import imbedding
from ._limit import Limit, check_outputs
from ._problem import MEMORY, Depth, Problem

NODES = 8
"""Branches of the coarsest of the three stacks that infinite depth is extrapolated from."""

_FINEST = 256


def linear(
    problem: Problem,
    depth: Depth,
    *,
    method: Literal["imbedding", "march"] = "imbedding",
    nodes: int = NODES,
    accuracy: float = 1e-3,
    memory: float = MEMORY,
) -> Limit:
    """Solve the training of a linear residual network of infinite width.

    The equations are those of dynamical mean-field theory for discrete steps (2309.16620;
    self-consistent form after 2205.09653). With a linear activation they close without any average
    over samples. For L branches, T times and P examples,

    - "imbedding" takes one time after another through all layers, and keeps for every layer how its
      features answer to its gradients and back (invariant imbedding): O(L (T P)^3) operations,
      O(L (T P)^2) memory;
    - "march" writes every field in the independent Gaussians that it is made of:
      O(L^2 (T P)^3) operations, O(L^2 (T P)^2) memory. It is the independent check of the other.

    At infinite depth the layers are layer time from 0 to 1. A stack of K branches errs by 1/K,
    1/K^2 and so on. So stacks of `nodes`, twice and four times as many give it to third order. They
    are doubled until the last order changes outputs by less than the accuracy, or the largest has
    256. Near the rate at which training becomes unstable they do not settle; outputs_error and
    losses_error show it. Noise that vanishes with depth, where alpha exceeds 1/2, is left out.

    Args:
        problem: The network, its data and training; the activation must be linear, the block depth
            1. Blocks pre and post are the same.
        depth: Number of branches, from 0 on, or math.inf.
        method: "imbedding", or at finite depth "march".
        nodes: Branches of the coarsest stack at first, at infinite depth.
        accuracy: Change of the last order at infinite depth, as a share of the largest output;
            math.inf keeps the nodes.
        memory: Memory that layers may take, in gigabytes.

    Returns:
        The limit. Its responses belong to the weights between layers l - 1 and l:
        "forward" (branches, times, examples, times), how features answer to the Gaussian part of
        the back-propagated signal, A^l = <dh^(l-1)_mu(t) / dr^l(s)>;
        "backward" (branches, times, times, examples), B^l = <dg^l(t) / du^l_nu(s)>. At infinite
        depth they are multiplied by the root of the depth, and layers are the coarsest stack's.
        Errors are the change from second to third order: more than what is left, where small.

    Raises:
        MutransferError: the activation is not linear, the block depth is 2, the depth, method or
            nodes are out of range, or the layers take more memory.
        Diverged: the loss is hopeless; the message names the step.
    """
    problem.check_depth(depth)
    if not problem.is_linear:
        raise MutransferError(
            "limits.linear solves linear branches of one matrix, "
            f"not {problem.phi.name} of block depth {problem.block_depth}; use limits.nonlinear"
        )
    if method not in ("imbedding", "march") or (method == "march" and math.isinf(depth)):
        raise MutransferError(f"method {method!r} does not solve depth {depth}; use 'imbedding'")
    if nodes < 1 or not accuracy > 0:
        raise MutransferError(
            f"nodes is {nodes}, accuracy {accuracy}: give at least 1 node and a positive accuracy"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(depth):
            return _infinite(problem, nodes, accuracy, memory)
        _check_memory(problem, int(depth), memory)
        noise = problem.branch(depth) ** 2
        solver = march if method == "march" else imbedding
        return solver(problem, int(depth), noise, noise * problem.hidden_rate(depth), depth)


def _infinite(problem: Problem, nodes: int, accuracy: float, memory: float) -> Limit:
    noise = problem.beta0**2 if problem.alpha == 0.5 else 0.0

    def stack(branches: int) -> Limit:
        _check_memory(problem, branches, memory)
        return imbedding(problem, branches, noise / branches, problem.beta0**2 / branches, math.inf)

    stacks = [stack(nodes), stack(2 * nodes), stack(4 * nodes)]
    while True:
        third, second = extrapolated(stacks), extrapolated(stacks[1:])
        error = np.abs(third.outputs - second.outputs)
        if error.max() <= accuracy * np.abs(third.outputs).max() or 8 * nodes > _FINEST:
            break
        nodes *= 2
        stacks = [*stacks[1:], stack(4 * nodes)]
    for step in range(problem.steps + 1):
        check_outputs(problem, math.inf, third.outputs, step)
    return replace(
        third,
        outputs_error=error,
        losses_error=np.abs(third.losses - second.losses),
        features_error=np.abs(third.covariance - second.covariance),
        tangent_error=np.abs(third.tangent - second.tangent),
    )


def _check_memory(problem: Problem, layers: int, memory: float) -> None:
    times, examples = problem.steps + 1, len(problem.targets)
    # A layer of the imbedding holds about seven matrices (times x examples)^2.
    size = 7 * 8 * (layers + 1) * (times * examples) ** 2 / 2**30
    if size > memory:
        raise MutransferError(
            f"{layers} layers of {times} times and {examples} examples "
            f"take {size:.0f} GB, more than {memory:g}: "
            "give fewer steps, examples or layers"
        )
