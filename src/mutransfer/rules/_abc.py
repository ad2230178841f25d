"""The quantities of a tensor, the abc symmetry that moves factors between them, and the forms of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ._optimizers import Family
from ._powers import ONE, Powers, powers
from ._roles import Role


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """How the five quantities of a tensor scale, each relative to its value at base size.

    The tensor W acts as `y = multiplier * (W x)`, is drawn with standard deviation `init`, and is trained at rate `lr` with the
    optimizer's `eps` and weight decay `decay` (the number given to the optimizer: torch's AdamW multiplies it by the rate).
    """

    init: Powers = ONE
    multiplier: Powers = ONE
    lr: Powers = ONE
    eps: Powers = ONE
    decay: Powers = ONE

    def rescale(self, theta: Powers, optimizer: Family) -> Quantities:
        """The same training with the multiplier theta times as large and the tensor theta times as small.

        Tensor Programs V, Lemma J.1, extended to eps and weight decay: the gradient of the smaller tensor is theta times
        as large, and its update must be theta times as small.
        """
        update = theta**optimizer.answer
        decay = {"coupled": theta**2, "decoupled": update, "independent": ONE, "normalised": theta}
        return Quantities(
            init=self.init / theta,
            multiplier=self.multiplier * theta,
            lr=self.lr / update,
            eps=self.eps if optimizer.eps is None else self.eps * theta**optimizer.eps_degree,
            decay=self.decay * decay[optimizer.decay],
        )

    def fold(self, multiplier: Powers, optimizer: Family) -> Quantities:
        """The same training for a tensor that itself carries this multiplier of its output, and its own."""
        whole = replace(self, multiplier=self.multiplier * multiplier)
        return whole.rescale(ONE / whole.multiplier, optimizer)


QUANTITIES = ("init", "multiplier", "lr", "eps", "decay")

_INPUT_LIKE = (
    Role.INPUT,
    Role.EMBEDDING,
    Role.POSITION,
    Role.BIAS,
    Role.GAIN,
    Role.VECTOR,
    Role.DEPTHWISE,
    Role.LAYER_SCALE,
    Role.LORA_B,
)

FORMS: Mapping[str, Mapping[Role, Powers]] = {
    "plain": {},
    "table3": {},
    "table8": {Role.READOUT: powers(fan_in=-1)},
    "table9": {
        Role.READOUT: powers(fan_in="-1/2"),
        **dict.fromkeys(_INPUT_LIKE, powers(fan_out="1/2")),
    },
    "unit": {},
}
"""The multiplier that each form shows, by role (Tensor Programs V, Tables 3, 8 and 9).

`plain` has no multiplier at all: even that of a residual branch is folded into the branch's last learned tensors. In `unit` every
tensor is drawn with standard deviation 1, and the multiplier is what its own form has as standard deviation (2407.17465).
"""
