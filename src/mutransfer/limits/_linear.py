"""Linear residual networks of infinite width, at any depth: exact, deterministic, without iteration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from ..core import MutransferError
from ._coefficients import march
from ._imbedding import imbedding
from ._limit import Limit, check_outputs, extrapolated
from ._problem import Depth, Problem

NODES = 8
"""Branches of the coarsest of three stacks from which infinite depth is extrapolated; the others have twice and four times as many."""

_FINEST = 256
_MOST_BYTES = 8 << 30


def linear(
    problem: Problem,
    depth: Depth,
    *,
    method: Literal["imbedding", "march"] = "imbedding",
    nodes: int = NODES,
    accuracy: float = 1e-3,
) -> Limit:
    """Training of a linear residual network of infinite width.

    The equations are those of dynamical mean-field theory for discrete steps (2309.16620; self-consistent form after 2205.09653), which
    close without any average over samples where the activation is linear. "imbedding" takes one time after another through all layers
    and keeps for every layer how its features answer to its gradients and back (invariant imbedding): O(L (T P)^3) operations and
    O(L (T P)^2) memory for L branches, T times, P examples. "march" writes every field in terms of the independent Gaussians it is made
    of: O(L^2 (T P)^3) operations and O(L^2 (T P)^2) memory; it is the independent check of the other.

    At infinite depth the layers are layer time from 0 to 1. A stack of K branches errs by 1/K, 1/K^2 and so on, so three stacks of
    `nodes`, twice and four times as many give it to third order. They are doubled until the last order changes outputs by less than the
    accuracy, or the largest has 256: near the rate at which training becomes unstable they do not settle, and outputs_error and
    losses_error say so. Noise that vanishes with depth, where alpha exceeds 1/2, is left out.

    Args:
        problem: The network, its data and training; the activation must be linear, the block depth 1. Block pre or post is the same.
        depth: Number of branches, from 0 on, or math.inf.
        method: "imbedding", or at finite depth "march".
        nodes: Branches of the coarsest stack at first, at infinite depth.
        accuracy: At infinite depth, a share of the largest output; math.inf keeps the nodes.

    Returns:
        The limit. Its responses, for the weights between layers l - 1 and l: "forward" (branches, times, examples, times), how features
        answer to the Gaussian part of the back-propagated signal, A^l = <dh^(l-1)_mu(t) / dr^l(s)>; "backward" (branches, times, times,
        examples), B^l = <dg^l(t) / du^l_nu(s)>; at infinite depth times the root of the depth. At infinite depth layers are the
        coarsest stack's, and the errors are the change from second to third order, more than what is left where they are small.

    Raises:
        MutransferError: the activation is not linear, the block depth is 2, the depth, method or nodes are out of range.
        Diverged: the loss is hopeless; the message names the step.
    """
    problem.check_depth(depth)
    if not problem.is_linear:
        raise MutransferError(
            f"limits.linear solves linear branches of one matrix, not {problem.phi.name} of block depth {problem.block_depth}; "
            "use limits.nonlinear"
        )
    if method not in ("imbedding", "march") or (method == "march" and math.isinf(depth)):
        raise MutransferError(f"method {method!r} does not solve depth {depth}; use 'imbedding'")
    if nodes < 1 or not accuracy > 0:
        raise MutransferError(
            f"nodes is {nodes}, accuracy {accuracy}: give at least 1 node and a positive accuracy"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(depth):
            return _infinite(problem, nodes, accuracy)
        _check_memory(problem, int(depth))
        noise = problem.branch(depth) ** 2
        solve = march if method == "march" else imbedding
        return solve(problem, int(depth), noise, noise * problem.hidden_rate(depth), depth)


def _infinite(problem: Problem, nodes: int, accuracy: float) -> Limit:
    noise = problem.beta0**2 if problem.alpha == 0.5 else 0.0

    def stack(branches: int) -> Limit:
        _check_memory(problem, branches)
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
    return replace(third, outputs_error=error, losses_error=np.abs(third.losses - second.losses))


def _check_memory(problem: Problem, layers: int) -> None:
    size = 7 * 8 * (layers + 1) * ((problem.steps + 1) * len(problem.targets)) ** 2
    if size > _MOST_BYTES:
        raise MutransferError(
            f"{layers} layers of {problem.steps + 1} times and {len(problem.targets)} examples take {size / 2**30:.0f} GB, "
            f"more than {_MOST_BYTES >> 30}: give fewer steps, examples or layers"
        )
