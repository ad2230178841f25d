"""Infinite depth, extrapolated from stacks of finite depth (Richardson's method).

Axes: layers of a stack; those of the coarsest stack are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..statistics import Array
from ._limit import Limit

# Weights of stacks of K, 2 K (and 4 K) branches. They sum to 1, and the errors of order 1 / K (and
# 1 / K^2) cancel: for three, 1/3 - 2/2 + (8/3)/4 = 0 and 1/3 - 2/4 + (8/3)/16 = 0.
_WEIGHTS = {2: (-1, 2), 3: (1 / 3, -2, 8 / 3)}


def weights_of(stacks: int) -> Sequence[float]:
    """Return the weights of stacks of K, 2 K (and 4 K) branches."""
    return _WEIGHTS.get(stacks, (1.0,))


def extrapolated(stacks: Sequence[Limit]) -> Limit:
    """Return infinite depth, from two stacks to second order in 1 / depth.

    Three stacks give it to third order.

    Args:
        stacks: Limits of finite depth, each with twice the branches of the one before.
    """
    coarse, weights = stacks[0], _WEIGHTS[len(stacks)]
    strides = [1 << i for i in range(len(stacks))]

    def weighted(values: Sequence[Array]) -> Array:
        return np.asarray(sum(weight * each for weight, each in zip(weights, values, strict=True)))

    def at_nodes(values: Sequence[Array], upper: int = 0) -> Array:
        """Extrapolate at the coarsest stack's nodes.

        Of quantities that belong to branches, a coarse branch has one, the finer stacks several:
        they give their first one (`upper` 0) or their last (1), at the same end of the branch.
        """
        starts = [upper * (stride - 1) for stride in strides]
        nodes = [
            value[start::stride]
            for value, start, stride in zip(values, starts, strides, strict=True)
        ]
        return weighted(nodes)

    def response(name: str, upper: int) -> Array:
        # Responses fall as the root of the depth, and have a limit once multiplied by it.
        scaled = [each.responses[name] * np.sqrt(len(each.layers) - 1) for each in stacks]
        return at_nodes(scaled, upper)

    outputs = weighted([each.outputs for each in stacks])
    return replace(
        coarse,
        outputs=outputs,
        losses=coarse.problem.losses(outputs),
        features=at_nodes([each.features for each in stacks]),
        gradients=at_nodes([each.gradients for each in stacks]),
        tangent=weighted([each.tangent for each in stacks]),
        responses={
            name: response(name, upper)
            for name, upper in (("forward", 0), ("backward", 1))
            if name in coarse.responses
        },
    )
