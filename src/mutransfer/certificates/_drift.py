"""Drift of the optimum with size: slopes, and what gives reason to doubt them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ..core import Estimate, MutransferError, Size
from ..statistics import Array
from ._scales import distance_text, unit

LARGEST_DRIFT = 0.25
"""Octaves per doubling up to which a significant drift gives no warning."""

LARGEST_MOVE = 1.0
"""Octaves that the optimum may move in all without a warning."""

SMALLEST_SPAN = 4
"""Factor that the sizes of an axis must span for a drift to show."""


def slopes(
    sizes: Sequence[Size], axes: Sequence[str], optima: Float[Array, "*samples sizes"]
) -> Float[Array, "*samples axes"]:
    """Return least-squares slopes of the optimum, per doubling of each axis.

    Raises:
        MutransferError: axes only vary together.
    """
    design = _design(sizes, axes)
    if not are_separate(sizes, axes):
        raise MutransferError(
            f"{' and '.join(axes)} only vary together in this sweep, "
            "so that their drifts cannot be separated: vary one alone"
        )
    return np.asarray((optima @ np.linalg.pinv(design).T)[..., 1:])


def are_separate(sizes: Sequence[Size], axes: Sequence[str]) -> bool:
    """Return True if the sizes tell the drifts of these axes apart."""
    design = _design(sizes, axes)
    return bool(np.linalg.matrix_rank(design) == design.shape[1])


def axis_warnings(
    sizes: Sequence[Size],
    drift: Mapping[str, Estimate],
    doublings: Float[Array, " axes"],
    scale: str,
    step: float,
) -> list[str]:
    """Return what each axis gives reason to doubt.

    Args:
        sizes: The sizes.
        drift: The drift along each axis.
        doublings: Doublings of each axis from the largest size to the target.
        scale: Scale of the hyperparameter.
        step: What counts as an octave on it.
    """
    warnings = []
    for (axis, slope), far in zip(drift.items(), doublings, strict=True):
        if (slope.low > 0 or slope.high < 0) and abs(slope.value) > LARGEST_DRIFT * step:
            moved = f"{distance_text(slope, scale)} {unit(scale)}"
            warnings.append(
                f"the optimum drifts {moved} per doubling of {axis}: it does not transfer"
            )
        span = max(size[axis] for size in sizes) / min(size[axis] for size in sizes)
        if span < SMALLEST_SPAN:
            warnings.append(
                f"the sweep spans a factor {span:.4g} in {axis}, too little to see a drift; "
                f"use {SMALLEST_SPAN} or more"
            )
        if far > math.log2(span):
            warnings.append(
                f"the target is {2**far:.4g} times the largest {axis}, "
                f"farther than the sweep spans ({span:.4g} times)"
            )
    return warnings


def cost_warnings(total: float, cost: Estimate, scale: str, step: float) -> list[str]:
    """Return a warning if the smallest size's optimum fails at the largest."""
    if math.isinf(cost.value):
        return ["the smallest size's optimum diverges, or was not run, at the largest size"]
    if abs(total) > LARGEST_MOVE * step:
        return [
            f"the optimum moves {total:+.2f} {unit(scale)} from the smallest size to the largest"
        ]
    return []


def _design(sizes: Sequence[Size], axes: Sequence[str]) -> Float[Array, "sizes columns"]:
    return np.array([[1.0, *(math.log2(size[axis]) for axis in axes)] for size in sizes])
