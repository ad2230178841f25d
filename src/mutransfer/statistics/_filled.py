"""Losses of runs that were not made, from the seeds that were."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._paired import additive


def filled(losses: Float[Array, "seeds values"]) -> Float[Array, "seeds values"]:
    """Return losses with missing ones filled by the sum of seed and value effects.

    So values that were run with few seeds compare with others as if all seeds had been run. Where
    the other runs of a value diverged, a missing one is infinite; where there are none, too.

    Args:
        losses: NaN where a run was not made; infinite where it diverged.
    """
    losses = np.asarray(losses, dtype=np.float64)
    missing, finite = np.isnan(losses), np.isfinite(losses)
    if not missing.any():
        return losses
    whole = additive(np.where(finite, losses, 0.0), finite)
    return np.where(missing, np.where(finite.any(0), whole, np.inf), losses)
