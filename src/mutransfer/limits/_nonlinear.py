"""Residual networks of infinite width with any activation, by causal Monte Carlo."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import MutransferError, OnProgress, Progress
from ..statistics import Array
from ._limit import Limit, Unsettled, diagonal, loss_scale
from ._problem import MEMORY, Depth, Problem
from ._sampling import NORMAL, Of, Repetition, Sampling

NODES = 2
"""Branches of the coarsest of the three stacks that infinite depth is extrapolated from."""

MOST = 64
"""Largest multiple of the fewest samples."""

_FINEST = 16
_MOST_REPETITIONS = 8


def nonlinear(
    problem: Problem,
    depth: Depth,
    *,
    accuracy: float = 0.01,
    repetitions: int = _MOST_REPETITIONS,
    seed: int = 0,
    nodes: int = NODES,
    memory: float = MEMORY,
    seconds: float | None = None,
    samples: int | None = None,
    progress: OnProgress | None = None,
) -> Limit:
    """Solve the training of a nonlinear residual network of infinite width.

    Single sites of the self-consistent dynamical mean-field theory (2309.16620, Proposition 1, for
    discrete steps; 2205.09653) are sampled forward in time: nothing is iterated. Gaussians are
    matched in their moments over the samples, so a linear network is solved to rounding error.

    A pilot of half the repetitions with few samples decides how many samples reach the accuracy.
    Independent repetitions with so many samples give the limit and its errors; errors that decided
    themselves when to stop would be too small. Errors of order 1 / samples are extrapolated away
    with the pilot. S samples, L branches, T times and P examples cost O(S L (T P)^2) operations.

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
        seconds: Time that may be spent. The pilot is drawn in any case; what would take longer is
            not begun.
        samples: Most samples of a repetition.
        progress: Called with the progress after every repetition.

    Returns:
        The limit, with errors of outputs and losses; `Limit.reached` is the accuracy that was
        reached, above the one asked where a budget of seconds or samples ended first. Kernels are
        without responses; at infinite depth layers are the smallest stack's.

    Raises:
        MutransferError: an argument is out of range, infinite depth has an alpha between 1/2 and 1
            and another block than "pre" of one matrix, or the accuracy takes more memory.
        Diverged: the loss is hopeless; the message names the step.
        Unsettled: 64 times the fewest samples do not reach the accuracy, and there is no budget.
    """
    problem.check_depth(depth)
    if not accuracy > 0 or not 2 <= repetitions <= _MOST_REPETITIONS or nodes < 1:
        raise MutransferError(
            f"accuracy {accuracy}, repetitions {repetitions}, nodes {nodes}: "
            f"give a positive accuracy, 2 to {_MOST_REPETITIONS} repetitions, at least 1 node"
        )
    check_budget(seconds)
    check_infinite(problem, depth)
    sampling = Sampling(
        problem,
        depth,
        repetitions=repetitions,
        seed=seed,
        nodes=nodes,
        memory=memory,
        remedy=f"a smaller depth, or an accuracy above {accuracy:g}",
    )
    least = max(stack.few for stack in sampling.stacks)
    if samples is not None and samples < 2 * least:
        raise MutransferError(f"samples is {samples}: this problem takes at least {2 * least}")
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    search = _Search(sampling, accuracy, deadline, samples, progress)
    settled = search.run()
    limit = _limit(sampling)
    if not settled and seconds is None and samples is None:
        raise Unsettled(limit, accuracy)
    return limit


def check_budget(seconds: float | None) -> None:
    """Raise unless a budget of seconds is positive.

    Raises:
        MutransferError: it is not.
    """
    if seconds is not None and not seconds > 0:
        raise MutransferError(
            f"seconds is {seconds}: give a positive budget, or None (--seconds inf) for no end"
        )


def check_infinite(problem: Problem, depth: Depth) -> None:
    """Raise if infinite depth cannot be extrapolated.

    Raises:
        MutransferError: alpha lies between 1/2 and 1, and a matrix stands before an activation.
    """
    if math.isinf(depth) and problem.alpha not in (0.5, 1) and not problem.is_noiseless:
        raise MutransferError(
            f"infinite depth of block {problem.block!r} with block depth {problem.block_depth} is "
            f"extrapolated for alpha 1/2 and 1, not {problem.alpha}, where errors fall as slowly "
            f"as depth^-{min(2 * problem.alpha - 1, 1 - problem.alpha):.2g}; give a finite depth, "
            "or block 'pre' of block depth 1"
        )


def losses_of(repetition: Repetition) -> Array:
    """Return the losses of a repetition."""
    return repetition.losses


@dataclass
class _Search:
    """One search for the samples that reach an accuracy."""

    sampling: Sampling
    accuracy: float
    deadline: float
    samples: int | None
    progress: OnProgress | None

    def run(self) -> bool:
        """Sample until the accuracy is reached, or the budget ends; return True if it is."""
        while True:
            self._report(self.sampling.pilot(), self.sampling.pilots)
            settled = self._settle()
            coarse = (np.abs(self.sampling.order(losses_of)) > self._scale).any()
            deeper = 2 * self.sampling.stacks[-1].branches <= _FINEST
            if not (settled and coarse and deeper) or time.monotonic() > self.deadline:
                return settled
            self.sampling.deepen()

    def _settle(self) -> bool:
        """Draw as many samples as the accuracy takes; return True if it is reached."""
        # The pilot's few repetitions have a large quantile of Student's t: a margin for the plan.
        sampling, share = self.sampling, self._share()
        factor = sampling.factor_for(share, self._most)
        while (factor := self._affordable(factor)) > sampling.factor:
            self._report(sampling.refine(factor), sampling.repetitions)
            if (share := self._share()) >= 1:
                return True
            # Errors fall as the root of the samples.
            wanted = factor * 2 ** math.ceil(math.log2(share**-2))
            factor = min(max(wanted, 2 * factor), self._most)
        return False

    @property
    def _most(self) -> int:
        if self.samples is None:
            return MOST
        fewest = max(stack.few for stack in self.sampling.stacks)
        return min(MOST, 1 << int(math.log2(max(1, self.samples // fewest))))

    def _affordable(self, factor: int) -> int:
        """Return the largest factor up to this one that the time is enough for."""
        left = self.deadline - time.monotonic()
        while factor > 1 and self.sampling.expected(factor) > left:
            factor //= 2
        return factor

    @property
    def _scale(self) -> float:
        losses = self.sampling.mean(losses_of).value
        return self.accuracy * loss_scale(self.sampling.problem, losses)

    def _share(self) -> float:
        """Return the wanted error over the reached one, at the worst step."""
        half = NORMAL * float(self.sampling.mean(losses_of).error.max())
        return self._scale / half if half > 0 else math.inf

    def _report(self, drawn: Iterator[tuple[int, int]], total: int) -> None:
        for samples, done in drawn:
            if self.progress is not None:
                self.progress(Progress(what=f"{samples} samples", done=done, total=total))


def _limit(sampling: Sampling) -> Limit:
    """Return what was sampled as a limit."""
    coarse = sampling.stacks[0].branches

    def at_nodes(name: str) -> Of:
        def of(repetition: Repetition) -> Array:
            kernel = repetition.kernels[name]
            # Finer stacks have a multiple of the coarsest one's branches.
            return kernel[:: max(1, (len(kernel) - 1) // max(1, coarse))]

        return of

    def error(of: Of) -> Array:
        return np.hypot(sampling.mean(of).error, sampling.order(of))

    parts: dict[str, Of] = {
        "outputs": lambda repetition: repetition.outputs,
        "losses": losses_of,
        "tangent": lambda repetition: repetition.kernels["tangent"],
        "features": lambda repetition: diagonal(repetition.kernels["features"][-1]),
    }
    errors: dict[str, Any] = {f"{name}_error": error(of) for name, of in parts.items()}
    means: dict[str, Any] = {
        name: sampling.mean(parts[name]).value for name in ("outputs", "losses", "tangent")
    }
    return Limit(
        problem=sampling.problem,
        depth=sampling.depth,
        layers=np.linspace(0, 1, coarse + 1),
        features=sampling.mean(at_nodes("features")).value,
        gradients=sampling.mean(at_nodes("gradients")).value,
        samples=max(stack.many or stack.few for stack in sampling.stacks),
        **means,
        **errors,
    )
