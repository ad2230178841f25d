"""The five quantities of a tensor, and the abc symmetry between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ._family import Family
from ._powers import ONE, Powers, powers

QUANTITIES = ("init", "multiplier", "lr", "eps", "decay")


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """Powers by which the five quantities of a tensor scale.

    The tensor W acts as `y = multiplier * (W x)`. Each power is relative to base size.

    Attributes:
        init: Standard deviation of an entry at initialisation.
        multiplier: The multiplier of its product.
        lr: The learning rate.
        eps: The optimizer's eps.
        decay: The weight decay, as the optimizer takes it: torch's AdamW multiplies it by the rate.
    """

    init: Powers = ONE
    multiplier: Powers = ONE
    lr: Powers = ONE
    eps: Powers = ONE
    decay: Powers = ONE

    def rescale(self, theta: Powers, optimizer: Family) -> Quantities:
        """Return equal training with a multiplier theta times as large.

        The tensor itself is then theta times as small, and its gradient theta times as large. Its
        update has to be theta times as small (Tensor Programs V, Lemma J.1, extended to eps and
        weight decay).
        """
        update = theta**optimizer.answer
        # Coupled decay is part of the gradient: times theta as the gradient, times theta again for
        # the smaller tensor. Decoupled decay is multiplied by the rate, which fell by `update`.
        decay = {"coupled": theta**2, "decoupled": update, "independent": ONE, "normalised": theta}
        return Quantities(
            init=self.init / theta,
            multiplier=self.multiplier * theta,
            lr=self.lr / update,
            eps=self.eps if optimizer.eps is None else self.eps * theta**optimizer.eps_degree,
            decay=self.decay * decay[optimizer.decay],
        )

    def fold(self, multiplier: Powers, optimizer: Family) -> Quantities:
        """Return equal training with this multiplier, and its own, in the tensor."""
        whole = replace(self, multiplier=self.multiplier * multiplier)
        return whole.rescale(ONE / whole.multiplier, optimizer)

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the exponents of each quantity as text."""
        return {name: getattr(self, name).to_json() for name in QUANTITIES}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Quantities:
        """Return the quantities that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the data is of another kind.
        """
        return cls(**{name: powers(**data[name]) for name in QUANTITIES})
