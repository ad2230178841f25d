"""The rule of divergence."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ._arrays import Array

HOPELESS = 100.0
"""Training has diverged once its loss is not finite, or this many times its first value."""

ZERO = 1e-9
"""First losses of at most this size have no scale to compare later ones with."""


def hopeless(first: Float[Array, "*runs"], losses: Float[Array, "*runs"]) -> Bool[Any, "*runs"]:
    """Return which losses show that training has diverged.

    Args:
        first: The loss before the first step; it broadcasts against the losses.
        losses: Later losses.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        large = losses > first + (HOPELESS - 1) * np.abs(first)
        return np.asarray(~np.isfinite(losses) | ((np.abs(first) > ZERO) & large))


def infinite(losses: Float[Array, "*runs"]) -> Float[Array, "*runs"]:
    """Return losses with infinity for all that are not finite.

    NaN would be taken for the lowest loss by argmin, and for no divergence by a test of infinity.
    """
    losses = np.asarray(losses, dtype=np.float64)
    return np.where(np.isfinite(losses), losses, np.inf)


def diverged_at(losses: Float[Array, "runs steps"]) -> list[int | None]:
    """Return the step at which each run diverged, None for those that did not."""
    losses = np.asarray(losses)
    return [int(row.argmax()) if row.any() else None for row in hopeless(losses[:, :1], losses)]
