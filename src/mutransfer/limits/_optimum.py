"""The best value of a hyperparameter, and its interval by the errors of the losses.

Axes: values of the hyperparameter.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..statistics import Array, edge, interval, vertex
from ._landscape import is_logarithmic

# Landscapes drawn from the errors of their losses.
_DRAWN = 400


def best_value(values: Float[Array, " values"], losses: Float[Array, " values"]) -> float | None:
    """Return the value of lowest loss, by a parabola; None at the edge of the values.

    Args:
        values: Values, ascending.
        losses: Losses; infinite where training diverges, NaN where they are unknown.
    """
    known = ~np.isnan(losses)
    values, losses = values[known], losses[known]
    if len(values) < 3 or edge(losses):
        return None
    scale = _Scale(values)
    return scale.value(float(vertex(scale.places, losses)))


def best_between(
    values: Float[Array, " values"],
    losses: Float[Array, " values"],
    errors: Float[Array, " values"],
) -> tuple[float, float] | None:
    """Return the 95% interval of the best value, None where `best_value` has none.

    Losses are drawn anew from their errors. Errors of neighbouring values are mostly common to
    both, so the interval is rather too wide.
    """
    if best_value(values, losses) is None:
        return None
    known = ~np.isnan(losses)
    scale, losses, errors = _Scale(values[known]), losses[known], errors[known]
    noise = np.random.default_rng(0).standard_normal((_DRAWN, len(losses)))
    low, high = interval(vertex(scale.places, losses + errors * noise))
    return scale.value(low), scale.value(high)


def spacing(values: Float[Array, " values"], place: float) -> float:
    """Return the distance of the values about a place, on their scale."""
    places = _Scale(values).places
    right = int(np.clip(np.searchsorted(places, place), 1, len(places) - 1))
    return float(places[right] - places[right - 1])


def on_scale(values: Float[Array, " values"], value: float) -> float:
    """Return the place of a value on the scale of the values."""
    return float(np.log2(value)) if is_logarithmic(values) else value


class _Scale:
    def __init__(self, values: Float[Array, " values"]) -> None:
        self.logarithmic = is_logarithmic(values)
        self.places = np.log2(values) if self.logarithmic else values

    def value(self, place: float) -> float:
        return 2.0**place if self.logarithmic else place
