"""The best value of a hyperparameter, and its interval.

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
    both, so the interval is rather too wide. Next to a value that diverged there is no parabola,
    and the optimum may lie anywhere between the neighbours of the lowest loss.
    """
    places = drawn_between(values, losses, errors)
    if places is None:
        return None
    known = ~np.isnan(losses)
    scale, losses = _Scale(values[known]), losses[known]
    best = int(np.argmin(losses))
    around = scale.places[best - 1 : best + 2]
    if not np.isfinite(losses[best - 1 : best + 2]).all():
        places = min(places[0], around[0]), max(places[1], around[-1])
    return scale.value(places[0]), scale.value(places[1])


def drawn_between(
    values: Float[Array, " values"],
    losses: Float[Array, " values"],
    errors: Float[Array, " values"],
) -> tuple[float, float] | None:
    """Return the interval of the best place on the scale, by drawn errors alone."""
    if best_value(values, losses) is None:
        return None
    known = ~np.isnan(losses)
    noise = np.random.default_rng(0).standard_normal((_DRAWN, int(known.sum())))
    places = _Scale(values[known]).places
    return interval(vertex(places, losses[known] + errors[known] * noise))


def spacing(values: Float[Array, " values"], place: float) -> float:
    """Return the distance of the values about a place, on their scale."""
    places = _Scale(values).places
    right = int(np.clip(np.searchsorted(places, place), 1, len(places) - 1))
    return float(places[right] - places[right - 1])


class _Scale:
    def __init__(self, values: Float[Array, " values"]) -> None:
        self.logarithmic = is_logarithmic(values)
        self.places = np.log2(values) if self.logarithmic else values

    def value(self, place: float) -> float:
        return 2.0**place if self.logarithmic else place
