"""Optimizer families: how an update answers to the gradient's scale, how large it is, what eps and decay mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._errors import MutransferError
from ._powers import ONE, Powers, powers


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a scaling rule needs to know about an optimizer.

    Attributes:
        name: The family's name, which `family` looks up.
        homogeneity: Degree of the update in the gradient: 1 when twice the gradient gives twice the update (SGD), 0
            when the update is normalised (Adam, Lion, Muon).
        gain: RMS change of the layer's output that a unit rate makes, for a gradient of unit entries, a unit input and full alignment of
            the two. An entrywise update of size 1 adds up over fan-in; an orthogonal matrix keeps the norm of its input.
        eps: Size, beside one entry of the gradient, of what eps is added to; None where the optimizer has no eps.
        decay: "coupled" when weight decay is added to the gradient (L2), "decoupled" when it shrinks the weight by rate x decay.
    """

    name: str
    homogeneity: Literal[0, 1]
    gain: Powers
    eps: Powers | None
    decay: Literal["coupled", "decoupled"]


SGD = Family(name="sgd", homogeneity=1, gain=powers(fan_in=1), eps=None, decay="coupled")
ADAM = Family(name="adam", homogeneity=0, gain=powers(fan_in=1), eps=ONE, decay="coupled")
ADAMW = Family(name="adamw", homogeneity=0, gain=powers(fan_in=1), eps=ONE, decay="decoupled")
LION = Family(name="lion", homogeneity=0, gain=powers(fan_in=1), eps=None, decay="decoupled")
MUON = Family(
    name="muon",
    homogeneity=0,
    gain=powers(fan_in="1/2", fan_out="-1/2"),
    eps=powers(fan_in="1/2", fan_out="1/2"),
    decay="decoupled",
)
"""Muon in the convention of a bare orthogonal update: rate x U Vᵀ (2512.05620, Table 1).

torch.optim.Muon multiplies that by a factor of its own, sqrt(max(1, fan_out/fan_in)) by default: divide it out of the rate.
"""

FAMILIES = {each.name: each for each in (SGD, ADAM, ADAMW, LION, MUON)}


def family(name: str) -> Family:
    """The optimizer family of this name; momentum and Nesterov's momentum do not change SGD's.

    >>> family("adamw").homogeneity
    0

    Raises:
        MutransferError: no rule is known for an optimizer of this name.
    """
    try:
        return FAMILIES[name.lower()]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise MutransferError(f"unknown optimizer {name!r}: no scaling rule is known for it; choose one of {known}") from None
