"""The quantities of a tensor, the abc symmetry that moves factors between them, and the forms of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .._errors import MutransferError
from ._optimizers import Family
from ._powers import ONE, Powers, powers
from ._roles import Role


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """How the five quantities of a tensor scale, each relative to its value at base size.

    The tensor W acts as `y = multiplier * (W x)`, is drawn with standard deviation `init`, and is trained at rate `lr` with the
    optimizer's `eps` and weight decay `decay` (the number given to the optimizer: torch's AdamW multiplies it by the rate).
    """

    init: Powers
    multiplier: Powers = ONE
    lr: Powers
    eps: Powers
    decay: Powers

    def rescale(self, theta: Powers, optimizer: Family) -> Quantities:
        """The same training with the multiplier theta times as large and the tensor theta times as small.

        Tensor Programs V, Lemma J.1, extended to eps and weight decay: the gradient of the smaller tensor is theta times
        as large, and its update must be theta times as small.
        """
        update = theta ** (1 + optimizer.homogeneity)
        return Quantities(
            init=self.init / theta,
            multiplier=self.multiplier * theta,
            lr=self.lr / update,
            eps=self.eps if optimizer.eps is None else self.eps * theta,
            decay=self.decay * (theta**2 if optimizer.decay == "coupled" else update),
        )

    def fold(self, multiplier: Powers, optimizer: Family) -> Quantities:
        """The same training for a tensor that itself carries this multiplier of its output, and its own."""
        whole = replace(self, multiplier=self.multiplier * multiplier)
        return whole.rescale(ONE / whole.multiplier, optimizer)


_INPUT_LIKE = (Role.INPUT, Role.EMBEDDING, Role.BIAS, Role.GAIN, Role.VECTOR)

FORMS: Mapping[str, Mapping[Role, Powers]] = {
    "plain": {},
    "table3": {},
    "table8": {Role.READOUT: powers(fan_in=-1)},
    "table9": {Role.READOUT: powers(fan_in="-1/2"), **dict.fromkeys(_INPUT_LIKE, powers(fan_out="1/2"))},
}
"""The multiplier that each form shows, by role (Tensor Programs V, Tables 3, 8 and 9).

`plain` has no multiplier at all: even that of a residual branch is folded into the branch's last learned tensors.
"""


def form_multiplier(form: str, role: Role) -> Powers:
    """The multiplier that a tensor of this role has in this form.

    Raises:
        MutransferError: there is no form of this name.
    """
    if form not in FORMS:
        raise MutransferError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
    return FORMS[form].get(role, ONE)
