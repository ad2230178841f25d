"""A parametrization's whole table, one row for each role and place."""

from __future__ import annotations

from dataclasses import dataclass

from ._family import Family
from ._parametrization import Parametrization
from ._powers import ONE, Powers
from ._quantities import Quantities
from ._roles import Place, Role, Trait


@dataclass(frozen=True)
class Row:
    """The row of one kind of tensor.

    Attributes:
        role: The tensor's role.
        place: Its place.
        quantities: The powers by which its quantities scale there.
    """

    role: Role
    place: Place
    quantities: Quantities

    @property
    def label(self) -> str:
        """Role and place in words."""
        return self.role.value if self.place == Place.OUTSIDE else f"{self.role} {self.place}"


def listing(rule: Parametrization, optimizer: Family, form: str = "plain") -> list[Row]:
    """Return the quantities of every role.

    Roles inside residual branches have rows of their own where depth changes them. An optimizer of
    matrices has rows for matrices alone.

    Args:
        rule: The parametrization.
        optimizer: The family that trains the tensors.
        form: "plain", "table3", "table8", "table9" or "unit". The plain form has no multiplier
            anywhere, so it has a row for the last tensors of a branch, which carry the branch's
            multiplier; in the other forms the branch carries it.

    Raises:
        MutransferError: there is no form of this name.
    """
    roles = [
        role
        for role in Role
        if role in rule.laws
        and role != Role.FROZEN
        and not (optimizer.matrices and role.has(Trait.NO_MATRIX))
    ]
    cells = [(role, Place.OUTSIDE) for role in roles]
    for role in roles:
        if rule.alpha is None or role.has(Trait.OUTSIDE):
            continue
        cells.append((role, Place.BRANCH))
        if form == "plain" and not role.has(Trait.NOT_LAST):
            cells.append((role, Place.BRANCH_END))
    return [
        Row(role, place, rule.quantities(role, optimizer, place, form=form))
        for role, place in cells
    ]


def signals(rule: Parametrization, form: str = "plain") -> dict[str, Powers]:
    """Return the multipliers of signals.

    They are the same in every form, but for the branches' multiplier: in the plain form the tensors
    of a branch carry it. The threshold of a gradient norm is among them, because it is stated for
    explicit multipliers (Tensor Programs V, Table 8).
    """
    multipliers = {"attention logits": rule.attention_scale}
    if rule.one_rate or Role.READOUT in rule.laws:
        multipliers["logits of a tied head"] = rule.logit_multiplier
    if form != "plain" and rule.alpha is not None:
        multipliers["outputs of residual branches"] = rule.branch_multiplier
    if rule.clip != ONE:
        multipliers["thresholds of the gradient norm"] = rule.clip
    return multipliers
