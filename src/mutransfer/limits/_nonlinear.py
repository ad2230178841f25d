"""Residual networks of infinite width with any activation, by causal Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._activations import Array
from ._limit import Limit, Unsettled, check_outputs, extrapolated, loss_scale
from ._network import run, streams
from ._problem import Depth, Problem
from ._sites import SiteDraw, directions

NODES = 2
"""Branches of the first of three stacks from which infinite depth is extrapolated; the others have twice and four times as many."""

_FINEST = 16

_ROOM = 1.5
"""Samples at least, for every draw that they must keep orthogonal."""

_FEWEST = 256
_DOUBLINGS = 6
"""How often samples are doubled at most."""

_MOST_BYTES = 8 << 30

Report = Callable[[str, int, int], None]
"""Told of progress: what is done, how many of it are done, and of how many."""

_T_97_5 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}
"""Quantile of Student's t at 97.5%, by the number of values that a mean is taken of."""


def nonlinear(
    problem: Problem,
    depth: Depth,
    *,
    accuracy: float = 0.01,
    repetitions: int = 4,
    seed: int = 0,
    nodes: int = NODES,
    report: Report | None = None,
) -> Limit:
    """Training of a residual network of infinite width, with any activation, block and block depth.

    Samples single sites of the self-consistent dynamical mean-field theory (2309.16620, Proposition 1, for discrete steps; 2205.09653)
    forward in time: nothing is iterated. Gaussians are matched in their moments over the samples, so a linear network is solved to
    rounding error. Independent repetitions give the standard errors; samples are doubled until the 95% interval of the loss (Student's t)
    is within the accuracy at every step. S samples, L branches, T times and P examples cost O(S (L T P)^2) operations.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, from 0 on, or math.inf: extrapolated from stacks of `nodes`, twice and four times as many
            branches, doubled until the last order changes losses by less than the accuracy, or the largest has 16.
        accuracy: Half width of the 95% interval of the loss that is to be reached at every step, as a share of the initial loss.
        repetitions: Independent repetitions, 2 to 8.
        seed: Seed of the samples.
        nodes: Branches of the smallest stack at first, at infinite depth.
        report: Called as report(what, done, total) after every repetition.

    Returns:
        The limit, with errors of outputs and losses: standard errors, at infinite depth together with the change from second to third
        order, which is above the accuracy where stacks of 16 branches do not settle. Kernels are means over the repetitions, without
        responses; at infinite depth layers are the smallest stack's.

    Raises:
        MutransferError: an argument is out of range, infinite depth has another alpha than 1/2 or 1, or 8 GB of memory are too few for
            the accuracy.
        Diverged: the loss is hopeless; the message names the step.
        Unsettled: 64 times the samples do not reach the accuracy.
    """
    problem.check_depth(depth)
    if not accuracy > 0 or repetitions not in _T_97_5 or nodes < 1:
        raise MutransferError(
            f"accuracy {accuracy}, repetitions {repetitions}, nodes {nodes}: give a positive accuracy, 2 to 8 repetitions, at least 1 node"
        )
    if math.isinf(depth) and problem.alpha not in (0.5, 1):
        raise MutransferError(
            f"infinite depth is extrapolated for alpha 1/2 and 1, not {problem.alpha}; give a finite depth"
        )
    stacks = [nodes, 2 * nodes, 4 * nodes] if math.isinf(depth) else [int(depth)]
    samples, doublings = _fewest(problem, stacks[-1]), 0
    while True:
        _check_memory(problem, stacks[-1], samples, accuracy)
        found, rough = [], []
        for repetition in range(repetitions):
            own = [
                _repetition(problem, depth, stack, samples, (seed, repetition, stack, samples))
                for stack in stacks
            ]
            found.append(extrapolated(own) if len(own) > 1 else own[0])
            rough.append(extrapolated(own[1:]) if len(own) > 1 else own[0])
            if report is not None:
                report(f"{samples} samples", repetition + 1, repetitions)
        mean, order = _mean(found), _mean(rough)
        scale = accuracy * loss_scale(mean.losses)
        noisy = (_T_97_5[repetitions] * mean.losses_error > scale).any()
        if noisy and doublings < _DOUBLINGS:
            samples, doublings = 2 * samples, doublings + 1
        elif (
            not noisy
            and (np.abs(mean.losses - order.losses) > scale).any()
            and 2 * stacks[-1] <= _FINEST
        ):
            stacks = [2 * stack for stack in stacks]
            samples = max(samples, _fewest(problem, stacks[-1]))
        else:
            limit = replace(
                mean,
                outputs_error=np.hypot(mean.outputs_error, mean.outputs - order.outputs),
                losses_error=np.hypot(mean.losses_error, mean.losses - order.losses),
            )
            if noisy:
                raise Unsettled(limit, accuracy)
            return limit


def _fewest(problem: Problem, depth: int) -> int:
    return max(_FEWEST, math.ceil(_ROOM * directions(problem, depth)))


def limit_stream(
    problem: Problem, depth: int, *, samples: int | None = None, seed: int = 0
) -> Float[Array, "layers times examples samples"]:
    """The residual stream of an infinitely wide network at sampled sites, at every layer and time, as `feature_diversity` takes it.

    Args:
        problem: The network, its data and training.
        depth: Number of branches.
        samples: Sites; by default half as many again as the draws that they must keep orthogonal.
        seed: Seed of the samples.

    Raises:
        MutransferError: the depth is not finite, or the samples are fewer than the draws.
        Diverged: the loss is hopeless.
    """
    problem.check_depth(depth)
    needed = directions(problem, depth) if not math.isinf(depth) else 0
    chosen = math.ceil(_ROOM * needed) if samples is None else samples
    if math.isinf(depth) or chosen <= needed:
        raise MutransferError(
            f"depth {depth}, samples {samples}: give a finite depth and more than {needed} samples"
        )
    _check_memory(problem, int(depth), chosen, math.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        found = run(
            problem,
            int(depth),
            SiteDraw(problem, int(depth), chosen, seed),
            lambda step, f: check_outputs(problem, depth, f, step),
        )
    return streams(found.features, len(problem.targets))


def _check_memory(problem: Problem, depth: int, samples: int, accuracy: float) -> None:
    fields = 2 * (depth + 1) + 6 * depth * problem.block_depth
    size = (
        8
        * samples
        * (fields * (problem.steps + 1) * len(problem.targets) + directions(problem, depth))
    )
    if size > _MOST_BYTES:
        raise MutransferError(
            f"{samples} samples of depth {depth} take {size / 2**30:.0f} GB, more than {_MOST_BYTES >> 30}: "
            f"give fewer steps or examples, a smaller depth, or an accuracy above {accuracy:g}"
        )


def _repetition(
    problem: Problem, depth: Depth, stack: int, samples: int, seed: tuple[int, ...]
) -> Limit:
    """One run of the sampled sites."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = run(
            problem,
            stack,
            SiteDraw(problem, stack, samples, seed),
            lambda step, f: check_outputs(problem, depth, f, step),
        )
    shape = (problem.steps + 1, len(problem.targets)) * 2
    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, stack + 1),
        outputs=found.outputs,
        losses=problem.losses(found.outputs),
        features=np.stack([(each.T @ each / samples).reshape(shape) for each in found.features]),
        gradients=np.stack([(each.T @ each / samples).reshape(shape) for each in found.gradients]),
        samples=samples,
    )


def _mean(limits: list[Limit]) -> Limit:
    """The mean of independent repetitions, with its standard errors."""

    def mean(values: list[Array]) -> Array:
        return np.asarray(np.mean(values, axis=0))

    def error(values: list[Array]) -> Array:
        return np.asarray(np.std(values, axis=0, ddof=1) / np.sqrt(len(values)))

    outputs, losses = [each.outputs for each in limits], [each.losses for each in limits]
    return replace(
        limits[0],
        outputs=mean(outputs),
        losses=mean(losses),
        features=mean([each.features for each in limits]),
        gradients=mean([each.gradients for each in limits]),
        outputs_error=error(outputs),
        losses_error=error(losses),
    )
