"""The optimizer families: data alone. A new family is one entry here."""

from __future__ import annotations

from typing import Any

from ._family import Family, entrywise, orthogonal, shampoo, soap
from ._powers import ONE, powers

_IN, _OUT = powers(fan_in=1), powers(fan_out=1)
_FROBENIUS = (_IN * _OUT) ** "1/2"

_FLOORED = (
    "scale_parameter=True, as torch.optim.Adafactor, which also floors the mean squared gradient "
    "at eps itself: the rule holds where gradients are larger than the root of eps; it also cuts "
    "every rate at 1/sqrt(step), in all groups alike, so keep the base's below that"
)
_RECTIFIED = (
    "its first steps are plain momentum and answer to the gradient's scale (2203.03466, B.3)"
)
_CURVED = (
    "exact for the Gauss-Newton-Bartlett estimate; Hutchinson's noise for all tensors at once "
    "mixes their scales"
)
_SIZELESS = (
    "a tensor that starts at zero has no size to be relative to: its first steps are LAMB's of "
    "size rate, LARS's plain SGD; and an implementation must not clamp the norm"
)
_RELATIVE: dict[str, Any] = {"relative": True, "caveat": _SIZELESS}
_SGD: dict[str, Any] = {"homogeneity": 1, "gain": _IN, "unaligned": powers(fan_in="1/2")}

FAMILIES = {
    family.name: family
    for family in (
        Family(name="sgd", decay="coupled", **_SGD),
        Family(name="sgdw", decay="decoupled", **_SGD),
        entrywise("adam", "coupled"),
        entrywise("adamw", "decoupled"),
        entrywise("amsgrad", "coupled"),
        entrywise("nadam", "coupled"),
        entrywise("nadamw", "decoupled"),
        entrywise("radam", "coupled", caveat=_RECTIFIED),
        entrywise("radamw", "decoupled", caveat=_RECTIFIED),
        entrywise("adagrad", "coupled"),
        entrywise("rmsprop", "coupled"),
        entrywise("adamax", "coupled"),
        entrywise("lion", "decoupled", eps=None),
        entrywise("sophia", "decoupled", curvature=True, caveat=_CURVED, cites=("2603.00541",)),
        entrywise("adafactor", "decoupled", relative=True, floored=True, caveat=_FLOORED),
        entrywise(
            "adafactor-fixed",
            "decoupled",
            eps_degree=2,
            caveat="scale_parameter=False; eps is added to the squared gradient",
        ),
        entrywise("lamb", "normalised", **_RELATIVE),
        entrywise("lars", "coupled", eps=_FROBENIUS, **_RELATIVE),
        orthogonal("muon", ONE, "nothing"),
        orthogonal("muon-spectral", (_OUT / _IN) ** "1/2", "sqrt(fan_out/fan_in)"),
        orthogonal(
            "muon-original",
            powers(expansion="1/2"),
            "sqrt(max(1, fan_out/fan_in)), the default of torch.optim.Muon",
        ),
        orthogonal(
            "muon-match-rms",
            powers(fan_max="1/2"),
            "0.2 sqrt(max(fan_out, fan_in)), match_rms_adamw of torch.optim.Muon",
        ),
        shampoo(),
        soap(),
    )
}
"""Every family by name."""
