"""Linear residual networks of infinite width, at any depth: exact, deterministic, without iteration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from .._errors import MutransferError
from ._coefficients import march
from ._imbedding import imbedding
from ._limit import Limit, extrapolated
from ._problem import Depth, Problem

NODES = 8
"""Branches of the coarsest of three stacks from which infinite depth is extrapolated; the others have twice and four times as many."""


def linear(problem: Problem, depth: Depth, *, method: Literal["imbedding", "march"] = "imbedding", nodes: int = NODES) -> Limit:
    """Training of a linear residual network of infinite width.

    The equations are those of dynamical mean-field theory for discrete steps (2309.16620; self-consistent form after 2205.09653), which
    close without any average over samples where the activation is linear. "imbedding" takes one time after another through all layers
    and keeps for every layer how its features answer to its gradients and back (invariant imbedding): O(L (T P)^3) operations and
    O(L (T P)^2) memory for L branches, T times, P examples. "march" writes every field in terms of the independent Gaussians it is made
    of: O(L^2 (T P)^3) operations and O(L^2 (T P)^2) memory; it is the independent check of the other.

    At infinite depth the layers are layer time from 0 to 1. A stack of K branches errs by 1/K, 1/K^2 and so on, so three stacks of
    `nodes`, twice and four times as many give it to third order; noise that vanishes with depth, where alpha exceeds 1/2, is left out.

    Args:
        problem: The network, its data and training; the activation must be linear, the block depth 1. Block pre or post is the same.
        depth: Number of branches, from 0 on, or math.inf.
        method: "imbedding", or at finite depth "march".
        nodes: Branches of the coarsest stack, at infinite depth.

    Returns:
        The limit. Its responses, for the weights between layers l - 1 and l: "forward" (branches, times, examples, times), how features
        answer to the Gaussian part of the back-propagated signal, A^l = <dh^(l-1)_mu(t) / dr^l(s)>; "backward" (branches, times, times,
        examples), B^l = <dg^l(t) / du^l_nu(s)>; at infinite depth times the root of the depth. At infinite depth layers are the
        coarsest stack's, and outputs_error is the change from second to third order, whose largest value is above the largest error
        that is left.

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
    if nodes < 1:
        raise MutransferError(f"nodes is {nodes}: give at least 1")
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(depth):
            return _infinite(problem, nodes)
        noise = problem.branch(depth) ** 2
        solve = march if method == "march" else imbedding
        return solve(problem, int(depth), noise, noise * problem.hidden_rate(depth), depth)


def _infinite(problem: Problem, nodes: int) -> Limit:
    squared = problem.beta0**2
    noise = squared if problem.alpha == 0.5 else 0.0
    stacks = [imbedding(problem, n, noise / n, squared / n, math.inf) for n in (nodes, 2 * nodes, 4 * nodes)]
    found = extrapolated(stacks)
    return replace(found, outputs_error=np.abs(found.outputs - extrapolated(stacks[1:]).outputs))
