"""Rules that promise no transfer along an axis, and the drift to expect there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..statistics import AxisPrior, LawPrior

WITHOUT = {
    "sp": ("width", "depth"),
    "sp-layerwise": ("width", "depth"),
    "ntk": ("depth",),
    "mup": ("depth",),
    "mean-field": ("depth",),
    "spectral": ("depth",),
}
"""Axes along which a rule does not keep the best rate where it is."""

DRIFTS = {
    # Between 0 and -1.5 octaves per doubling by optimizer and model (Tensor Programs V, Figure 1).
    # Small networks hardly drift, larger ones do: the law bends down.
    "width": AxisPrior(slope=-0.7, spread=0.5, still=0.02, bend=-0.06, bend_spread=0.1, wander=0.2),
    # Between 0 and -1 (Tensor Programs VI, Figure 1; 2309.16620, Figure 1).
    "depth": AxisPrior(slope=-0.6, spread=0.4, still=0.02, bend=-0.06, bend_spread=0.1, wander=0.2),
}
"""Prior of the best rate's drift along an axis without such a promise."""


def without_promises(prior: LawPrior, rule: str, axes: Sequence[str]) -> LawPrior:
    """Return the prior of the best rate's law, with drifts that are left."""
    name = rule.partition(",")[0].strip()
    drifting = WITHOUT.get(name, ())
    own = zip(axes, prior.axes, strict=True)
    return replace(
        prior, axes=tuple(DRIFTS[axis] if axis in drifting else each for axis, each in own)
    )
