"""The feature diversity exponent of a residual stream."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..core import MutransferError
from ._arrays import Array
from ._power_law import power_law

FEWEST_BRANCHES = 2
"""Fewest branches that have two distances in depth, which a slope needs."""

_NEAR, _FAR = 64, 8


def diversity_exponent(stream: ArrayLike) -> float:
    """Return the feature diversity exponent kappa of a residual stream.

    Features a share eps of the depth apart differ by eps^(1 - kappa) (Definition 7.6 of Tensor
    Programs VI, arXiv 2310.02244). The norm is N^(-1/2) |x^(l + d) - x^l| over the N coordinates.
    Norms are averaged over all pairs of layers at one distance and over the
    batch; the slope over distance, on logarithmic scales, is 1 - kappa.

    >>> layers, examples, width = 257, 3, 1000
    >>> steps = np.random.default_rng(0).standard_normal((layers, examples, width))
    >>> round(diversity_exponent(steps.cumsum(axis=0)), 2)
    0.5

    Args:
        stream: Features before the first branch and after every branch,
            (branches + 1, ..., coordinates). Channels of a convolution are its coordinates.

    Returns:
        The exponent; not a number where a feature is not finite or no layers differ.

    Raises:
        MutransferError: there are fewer than two branches, or no coordinates.
    """
    features: Float[Array, "layers *batch coordinates"] = np.asarray(stream, dtype=np.float64)
    depth = len(features) - 1 if features.ndim else 0
    if features.ndim < 2 or depth < FEWEST_BRANCHES or not features.size:
        raise MutransferError(
            f"features have the shape {features.shape}: give (branches + 1, ..., coordinates) with "
            f"at least {FEWEST_BRANCHES} branches"
        )
    if not np.isfinite(features).all():
        return math.nan
    distances = _distances(depth)
    differences = np.array([_difference(features, distance) for distance in distances])
    if not differences.all():
        return math.nan
    return 1 - power_law(np.array(distances), differences).exponents[0]


def _distances(depth: int) -> list[int]:
    """Return distances in layers, doubling from 1/64 of the depth to 1/8.

    The definition takes the depth to infinity before eps to 0. At distances of a good part of the
    depth the shape of the whole stream counts: where it turns round, features come near again.
    Below one layer there is nothing to measure, so shallow streams start at 1, and those below
    depth 16 use distances 1 and 2 alone.
    """
    nearest = max(1, depth // _NEAR)
    farthest = max(depth // _FAR, 2 * nearest)
    return [nearest << i for i in range((farthest // nearest).bit_length())]


def _difference(features: Float[Array, "layers *batch coordinates"], distance: int) -> float:
    """Return the mean norm of the difference of layers at one distance.

    The norm is over coordinates alone, as in the definition, so that every input and every place
    in depth counts alike; pooling the squares would let the largest features decide.
    """
    squares = (features[distance:] - features[:-distance]) ** 2
    return float(np.sqrt(np.mean(squares, axis=-1)).mean())
