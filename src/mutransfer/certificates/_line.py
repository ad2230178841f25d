"""Sizes as points: the drifts that they tell apart, the targets that they reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..core import Size
from ..statistics import Array


def logs(sizes: Sequence[Size], axes: Sequence[str]) -> Float[Array, "sizes axes"]:
    """Return log2 of the sizes along these axes."""
    return np.array([[math.log2(size[axis]) for axis in axes] for size in sizes])


def are_separate(sizes: Sequence[Size], axes: Sequence[str]) -> bool:
    """Return True if the sizes tell the drifts of these axes apart."""
    return _rank(sizes, axes) == len(axes) + 1


def reaches(sizes: Sequence[Size], target: Size, axes: Sequence[str]) -> bool:
    """Return True if the target goes on along directions in which the sizes differ."""
    return _rank([*sizes, target], axes) == _rank(sizes, axes)


def _rank(sizes: Sequence[Size], axes: Sequence[str]) -> int:
    points = logs(sizes, axes).reshape(len(sizes), len(axes))
    return int(np.linalg.matrix_rank(np.column_stack([np.ones(len(points)), points])))
