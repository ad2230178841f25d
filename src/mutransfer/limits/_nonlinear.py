"""Residual networks of infinite width with any activation, by causal Monte Carlo.

Axes: S samples of a site; T times; P examples; layers of one stack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core import MutransferError, OnProgress, Progress
from ..statistics import Array, student_t
from ._extrapolation import extrapolated
from ._limit import Limit, Unsettled, check_outputs, loss_scale
from ._network import Trained, train
from ._problem import MEMORY, Depth, Problem
from ._sites import SiteDraw, draws

NODES = 2
"""Branches of the coarsest of the three stacks that infinite depth is extrapolated from."""

_FINEST = 16

# Samples for every draw that they must keep orthogonal, at least; and in all.
_ROOM = 1.5
_FEWEST = 256

# Samples are doubled at most so often.
_DOUBLINGS = 6

_MOST_REPETITIONS = 8


def nonlinear(
    problem: Problem,
    depth: Depth,
    *,
    accuracy: float = 0.01,
    repetitions: int = 4,
    seed: int = 0,
    nodes: int = NODES,
    memory: float = MEMORY,
    progress: OnProgress | None = None,
) -> Limit:
    """Solve the training of a nonlinear residual network of infinite width.

    Single sites of the self-consistent dynamical mean-field theory (2309.16620, Proposition 1, for
    discrete steps; 2205.09653) are sampled forward in time: nothing is iterated. Gaussians are
    matched in their moments over the samples, so a linear network is solved to rounding error.
    Independent repetitions give the standard errors. Samples are doubled until the 95% interval of
    the loss (Student's t) is within the accuracy at every step. S samples, L branches, T times and
    P examples cost O(S (L T P)^2) operations.

    Args:
        problem: The network, its data and training.
        depth: Number of branches, from 0 on, or math.inf. Infinite depth is extrapolated from
            stacks of `nodes`, twice and four times as many branches. They are doubled until the
            last order changes losses by less than the accuracy, or the largest has 16.
        accuracy: Half width of the loss's 95% interval that every step must reach, as a share of
            the initial loss.
        repetitions: Independent repetitions, 2 to 8.
        seed: Seed of the samples.
        nodes: Branches of the smallest stack at first, at infinite depth.
        memory: Memory that fields may take, in gigabytes.
        progress: Called with the progress after every repetition.

    Returns:
        The limit, with errors of outputs and losses. They are standard errors, at infinite depth
        together with the change from second to third order. That is above the accuracy where stacks
        of 16 branches do not settle. Kernels are means over the repetitions, without
        responses; at infinite depth layers are the smallest stack's.

    Raises:
        MutransferError: an argument is out of range, infinite depth has another alpha than 1/2 or
            1, or the accuracy takes more memory.
        Diverged: the loss is hopeless; the message names the step.
        Unsettled: 64 times the samples do not reach the accuracy.
    """
    problem.check_depth(depth)
    if not accuracy > 0 or not 2 <= repetitions <= _MOST_REPETITIONS or nodes < 1:
        raise MutransferError(
            f"accuracy {accuracy}, repetitions {repetitions}, nodes {nodes}: "
            f"give a positive accuracy, 2 to {_MOST_REPETITIONS} repetitions, at least 1 node"
        )
    if math.isinf(depth) and problem.alpha not in (0.5, 1):
        raise MutransferError(
            f"infinite depth is extrapolated for alpha 1/2 and 1, not {problem.alpha}; "
            "give a finite depth"
        )
    stacks = [nodes, 2 * nodes, 4 * nodes] if math.isinf(depth) else [int(depth)]
    samples = _fewest(problem, stacks[-1])
    sampling = _Sampling(problem, depth, accuracy, repetitions, seed, memory, progress)
    return sampling.solve(stacks, samples)


@dataclass(frozen=True)
class _Sampling:
    """One call of `nonlinear`, by its arguments."""

    problem: Problem
    depth: Depth
    accuracy: float
    repetitions: int
    seed: int
    memory: float
    progress: OnProgress | None

    def solve(self, stacks: list[int], samples: int) -> Limit:
        """Return the limit, with as many samples and as deep stacks as the accuracy takes."""
        doublings = 0
        while True:
            mean, lower = self._means(stacks, samples)
            scale = self.accuracy * loss_scale(mean.losses)
            noisy = (student_t(self.repetitions - 1) * mean.losses_error > scale).any()
            coarse = (np.abs(mean.losses - lower.losses) > scale).any()
            if noisy and doublings < _DOUBLINGS:
                samples, doublings = 2 * samples, doublings + 1
            elif not noisy and coarse and 2 * stacks[-1] <= _FINEST:
                stacks = [2 * stack for stack in stacks]
                samples = max(samples, _fewest(self.problem, stacks[-1]))
            else:
                break
        limit = replace(
            mean,
            outputs_error=np.hypot(mean.outputs_error, mean.outputs - lower.outputs),
            losses_error=np.hypot(mean.losses_error, mean.losses - lower.losses),
        )
        if noisy:
            raise Unsettled(limit, self.accuracy)
        return limit

    def _means(self, stacks: Sequence[int], samples: int) -> tuple[Limit, Limit]:
        """Return the limit, and the same to one order in depth less."""
        remedy = f"a smaller depth, or an accuracy above {self.accuracy:g}"
        check_memory(self.problem, stacks[-1], samples, remedy, self.memory)
        highest, lower = zip(*self._repeated(stacks, samples), strict=True)
        return _mean(highest), _mean(lower)

    def _repeated(self, stacks: Sequence[int], samples: int) -> Iterator[tuple[Limit, Limit]]:
        for repetition in range(self.repetitions):
            limits = [
                _sampled(
                    self.problem,
                    self.depth,
                    stack,
                    samples,
                    seed=(self.seed, repetition, stack, samples),
                )
                for stack in stacks
            ]
            if len(limits) > 1:
                yield extrapolated(limits), extrapolated(limits[1:])
            else:
                yield limits[0], limits[0]
            if self.progress is not None:
                done = repetition + 1
                self.progress(
                    Progress(what=f"{samples} samples", done=done, total=self.repetitions)
                )


def _fewest(problem: Problem, depth: int) -> int:
    return max(_FEWEST, roomy(problem, depth))


def roomy(problem: Problem, depth: int) -> int:
    """Return half as many samples again as the draws that they must keep orthogonal."""
    return math.ceil(_ROOM * draws(problem, depth))


def run_sites(
    problem: Problem, depth: Depth, stack: int, samples: int, seed: int | Sequence[int]
) -> Trained:
    """Train sampled sites of an infinitely wide network.

    Args:
        problem: Network, data and training.
        depth: Depth that the stack stands for, for messages.
        stack: Number of branches.
        samples: Number of sites, more than the draws.
        seed: Seed of the samples.

    Raises:
        Diverged: the loss is hopeless.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return train(
            problem,
            stack,
            SiteDraw(problem, stack, samples, seed),
            lambda step, outputs: check_outputs(problem, depth, outputs, step),
        )


def check_memory(
    problem: Problem, depth: int, samples: int, remedy: str, memory: float = MEMORY
) -> None:
    """Raise if sampled sites take too much memory.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        samples: Number of sites.
        remedy: What helps besides fewer steps or examples.
        memory: Memory that fields may take, in gigabytes.

    Raises:
        MutransferError: they take more.
    """
    # Fields h and g of every layer; of every matrix its inputs and signals, and on both of its
    # sides the directions and their Gaussians.
    fields = 2 * (depth + 1) + 6 * depth * problem.block_depth
    columns = fields * (problem.steps + 1) * len(problem.targets) + draws(problem, depth)
    size = 8 * samples * columns / 2**30
    if size > memory:
        raise MutransferError(
            f"{samples} samples of depth {depth} take {size:.0f} GB, "
            f"more than {memory:g}: give fewer steps or examples, {remedy}"
        )


def _sampled(
    problem: Problem, depth: Depth, stack: int, samples: int, seed: Sequence[int]
) -> Limit:
    """Return one repetition."""
    run = run_sites(problem, depth, stack, samples, seed)
    shape = (problem.steps + 1, len(problem.targets)) * 2

    def kernels(fields: Sequence[Array]) -> Array:
        return np.stack([(field.T @ field / samples).reshape(shape) for field in fields])

    return Limit(
        problem=problem,
        depth=depth,
        layers=np.linspace(0, 1, stack + 1),
        outputs=run.outputs,
        losses=problem.losses(run.outputs),
        features=kernels(run.features),
        gradients=kernels(run.gradients),
        samples=samples,
    )


def _mean(limits: Sequence[Limit]) -> Limit:
    """Return the mean of independent repetitions, with its standard errors."""

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
