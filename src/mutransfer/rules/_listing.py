"""A parametrization's whole table, one row a role."""

from __future__ import annotations

from dataclasses import dataclass

from ._abc import Quantities
from ._optimizers import Family
from ._powers import ONE, Powers
from ._roles import Place, Role
from ._tables import Parametrization

_NEVER_INSIDE = (Role.EMBEDDING, Role.POSITION, Role.INPUT, Role.READOUT, Role.TIED)
_NO_MATRICES = (
    *(
        Role.BIAS,
        Role.GAIN,
        Role.HEAD_GAIN,
        Role.LAYER_SCALE,
        Role.VECTOR,
        Role.ATTENTION_SCALE,
        Role.SCALAR,
    ),
    *(Role.POSITION, Role.DEPTHWISE),
)
_NEVER_LAST = (Role.KEY_VALUE, Role.ROUTER, Role.LORA_A, Role.HEAD_GAIN, Role.ATTENTION_SCALE)


@dataclass(frozen=True)
class Row:
    """One row of a table: what a tensor is, where it stands, and how its quantities scale there."""

    role: Role
    place: Place
    quantities: Quantities

    @property
    def label(self) -> str:
        """Role and place in words."""
        return self.role.value if self.place == Place.OUTSIDE else f"{self.role} {self.place}"


def listing(rule: Parametrization, optimizer: Family, form: str = "plain") -> list[Row]:
    """Every role's quantities; roles inside residual branches have rows of their own where depth changes them.

    An optimizer of matrices has rows for these alone.

    Args:
        rule: The parametrization.
        optimizer: The family that trains the tensors.
        form: "plain", "table3", "table8", "table9" or "unit". The plain form has no multiplier anywhere, so it has a row for the
            last tensors of a branch, which carry the branch's multiplier; in the other forms the branch carries it.

    Raises:
        MutransferError: there is no form of this name.
    """
    roles = [
        role
        for role in Role
        if role in rule.laws
        and role != Role.FROZEN
        and not (optimizer.matrices and role in _NO_MATRICES)
    ]
    rows = [Row(role, Place.OUTSIDE, rule.quantities(role, optimizer, form=form)) for role in roles]
    for role in roles:
        if rule.alpha is None or role in _NEVER_INSIDE:
            continue
        rows.append(
            Row(role, Place.BRANCH, rule.quantities(role, optimizer, Place.BRANCH, form=form))
        )
        if form == "plain" and role not in _NEVER_LAST:
            rows.append(
                Row(
                    role,
                    Place.BRANCH_END,
                    rule.quantities(role, optimizer, Place.BRANCH_END, form=form),
                )
            )
    return rows


def signals(rule: Parametrization, form: str = "plain") -> dict[str, Powers]:
    """What a parametrization multiplies signals by, in every form but for the branches: in the plain one their tensors carry it.

    The threshold of a gradient norm belongs to them: it is stated for explicit multipliers (Table 8).
    """
    branches = (
        {}
        if form == "plain" or rule.alpha is None
        else {"outputs of residual branches": rule.branch_multiplier}
    )
    clip = {} if rule.clip == ONE else {"thresholds of the gradient norm": rule.clip}
    return (
        {"attention logits": rule.attention_scale, "logits of a tied head": rule.logit_multiplier}
        | branches
        | clip
    )
