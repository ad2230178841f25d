"""Runs of sampled sites: their samples, memory and kernels.

Axes: T times; P examples; layers of one stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ..statistics import Array
from ._limit import check_outputs
from ._network import Trained, train
from ._problem import MEMORY, Depth, Problem
from ._sites import Apart, SiteDraw, draws

# Samples for every direction that they must keep orthogonal, at least; and in all.
_ROOM = 1.5
_FEWEST = 256


def fewest(problem: Problem, branches: int, apart: Apart) -> int:
    """Return the fewest samples, half as many again as their orthogonal directions."""
    return max(_FEWEST, math.ceil(_ROOM * draws(problem, branches, apart)))


def run_sites(problem: Problem, depth: Depth, branches: int, draw: SiteDraw) -> Trained:
    """Train sampled sites of an infinitely wide network.

    Args:
        problem: Network, data and training.
        depth: Depth that the stack stands for, for messages.
        branches: Number of branches.
        draw: The initial draw.

    Raises:
        Diverged: the loss is hopeless.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return train(
            problem,
            branches,
            draw,
            lambda step, outputs: check_outputs(problem, depth, outputs, step),
        )


def gigabytes(problem: Problem, depth: int, samples: int, apart: Apart = "all") -> float:
    """Return the memory that sampled sites take.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        samples: Number of sites.
        apart: Draws that every Gaussian is orthogonal to.
    """
    # Fields h and g of every layer; of every matrix its inputs and signals, and on both of its
    # sides the directions and their Gaussians; apart from one matrix alone, a basis of both.
    of_matrix = {"all": 6, "matrix": 10, "none": 2}[apart]
    fields = 2 * (depth + 1) + of_matrix * depth * problem.block_depth
    columns = fields * (problem.steps + 1) * len(problem.targets) + draws(problem, depth, apart)
    return 8 * samples * columns / 2**30


def check_memory(
    problem: Problem,
    depth: int,
    samples: int,
    remedy: str,
    memory: float = MEMORY,
    apart: Apart = "all",
) -> None:
    """Raise if sampled sites take too much memory.

    Args:
        problem: Network, data and training.
        depth: Number of branches.
        samples: Number of sites.
        remedy: Advice besides fewer steps or examples.
        memory: Memory that fields may take, in gigabytes.
        apart: Draws that every Gaussian is orthogonal to.

    Raises:
        MutransferError: they take more.
    """
    size = gigabytes(problem, depth, samples, apart)
    if size > memory:
        raise MutransferError(
            f"{samples} samples of depth {depth} take {size:.0f} GB, "
            f"more than {memory:g}: give fewer steps or examples, {remedy}"
        )


def kernels_of(problem: Problem, run: Trained, samples: int) -> dict[str, Array]:
    """Return the kernels of a run by name: those of all times, and the tangent kernel."""
    shape = (problem.steps + 1, len(problem.targets)) * 2

    def kernels(fields: Sequence[Array]) -> Float[Array, "layers times examples times examples"]:
        return np.stack([(each.T @ each / samples).reshape(shape) for each in fields])

    return {
        "features": kernels(run.features),
        "gradients": kernels(run.gradients),
        "tangent": run.tangent,
    }
