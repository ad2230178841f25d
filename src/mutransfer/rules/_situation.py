"""One tensor's situation: all that its scaling can depend on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ._family import Family
from ._powers import ONE, Powers, powers
from ._roles import Law, Place, Role


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The situation of a tensor under a rule.

    Attributes:
        role: The tensor's role.
        law: The law of that role.
        place: The tensor's place.
        optimizer: The family that trains it.
        alpha: The rule's residual exponent; None where branches have no multiplier.
    """

    role: Role
    law: Law
    place: Place
    optimizer: Family
    alpha: Fraction | None = None

    @property
    def inside(self) -> bool:
        """True if the tensor stands in a residual branch that has a multiplier."""
        return self.place != Place.OUTSIDE and self.alpha is not None

    @property
    def branch(self) -> Powers:
        """Multiplier of residual branches."""
        return ONE if self.alpha is None else powers(depth=-self.alpha)

    @property
    def share(self) -> Powers:
        """Wanted change of the layer's output in a step, over one outside the branches.

        It is depth^(alpha - 1) inside, so that all branches together move the features by a
        constant (2603.00541, Section 4).
        """
        return powers(depth=self.alpha - 1) if self.inside and self.alpha is not None else ONE

    @property
    def change(self) -> Powers:
        """Wanted change of the layer's output in a step."""
        return self.law.change * self.share

    @property
    def gradient(self) -> Powers:
        """RMS of an entry of the gradient."""
        # Only the change of features makes a learned gradient add up, so it has that size, too.
        inside = self.branch * (self.share if self.law.learned else ONE)
        return self.law.gradient * (inside if self.inside else ONE)

    @property
    def normalised(self) -> bool:
        """True if the update has the same size for any scale of the gradient."""
        return self.optimizer.degree == 0

    @property
    def decays_by_rate(self) -> bool:
        """True if decay is decoupled and the update is not relative to the tensor."""
        return self.optimizer.decay == "decoupled" and not self.optimizer.relative
