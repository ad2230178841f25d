"""Candidates of an optimum, and the shapes around each at the measured values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from ._arrays import Array
from ._shapes import JUMP, shapes

MARGIN = 2.0
"""Candidates reach this many units beyond the measured values."""

FEWEST = 110
"""Fewest candidates."""

Single = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that depends on the measured places alone, in units of the scale.

    Attributes:
        x: The measured places, from zero.
        at: The candidates, evenly spaced.
        outside: Distance of a candidate from the measured places.
        prior: Of smooth shapes, then of jumps, (shapes, 1).
        h, h2: Smooth shapes at the places, and squares, (values, shapes * candidates); each is
            scaled to lie between 0 and 1, which the free level and factor of the fit undo.
        left: 1 where a place is not right of a candidate, else 0.
        jumps: Left sides of jumps, zero on the right.
    """

    x: Float[Array, " values"]
    at: Float[Array, " candidates"]
    outside: Float[Array, " candidates"]
    prior: Float[Single, "shapes 1"]
    h: Float[Single, "values rows"]
    h2: Float[Single, "values rows"]
    left: Float[Array, "candidates values"]
    jumps: Float[Array, "jumps candidates values"]

    @property
    def spacing(self) -> float:
        """Distance between candidates."""
        return float(self.at[1] - self.at[0])


@lru_cache(maxsize=16)
def candidates(places: tuple[float, ...]) -> Candidates:
    """Return the candidates for places that start at zero."""
    x = np.array(places)
    length, step = x[-1] + 2 * MARGIN, np.diff(x).min()
    spacing = length / FEWEST
    if step > spacing:
        # Even places are candidates themselves: the density may have a kink there.
        spacing = step / np.ceil(step / spacing)
    at = -MARGIN + spacing * np.arange(round(length / spacing) + 1)
    prior = shapes()
    smooth = prior[np.flatnonzero(prior.kind != JUMP)]
    jumps = prior[np.flatnonzero(prior.kind == JUMP)]
    distances = x - at[:, None]
    h = smooth.heights(distances.ravel()).reshape(-1, len(x))
    h -= h.min(-1, keepdims=True)
    h /= np.maximum(h.max(-1, keepdims=True), 1e-300)
    left = (distances <= 0).astype(float)
    return Candidates(
        x=x,
        at=at,
        outside=np.maximum(np.maximum(-at, at - x[-1]), 0),
        prior=prior.prior.astype(np.float32)[:, None],
        h=np.ascontiguousarray(h.T, dtype=np.float32),
        h2=np.ascontiguousarray((h * h).T, dtype=np.float32),
        left=left,
        jumps=jumps.heights(distances.ravel()).reshape(-1, *left.shape) * left,
    )
