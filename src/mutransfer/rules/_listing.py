"""A parametrization's whole table, one row a role, as the papers print theirs."""

from __future__ import annotations

from dataclasses import dataclass

from ._abc import Quantities
from ._optimizers import Family
from ._powers import Powers
from ._roles import Role
from ._tables import Parametrization


@dataclass(frozen=True)
class Row:
    """One row of a table: where a tensor stands, and how its quantities scale there."""

    place: str
    quantities: Quantities


def listing(rule: Parametrization, optimizer: Family, form: str = "plain") -> list[Row]:
    """Every role's quantities; roles inside residual branches have rows of their own where depth changes them.

    Args:
        rule: The parametrization.
        optimizer: The family that trains the tensors.
        form: "plain", "table3", "table8" or "table9". The plain form has no multiplier anywhere, so it has a row for the
            last tensors of a branch, which carry the branch's multiplier; in the other forms the branch carries it.

    Raises:
        MutransferError: there is no form of this name.
    """
    rows = [Row(role.value, rule.quantities(role, optimizer, form=form)) for role in Role]
    if rule.alpha is None:
        return rows
    for role in (Role.HIDDEN, Role.BIAS, Role.GAIN, Role.VECTOR, Role.SCALAR):
        inside = rule.quantities(role, optimizer, in_branch=True, form=form)
        rows.append(Row(f"{role} in a branch", inside))
        if form == "plain":
            rows.append(Row(f"{role} ending a branch", inside.fold(rule.branch_multiplier, optimizer)))
    return rows


def signals(rule: Parametrization, form: str = "plain") -> dict[str, Powers]:
    """What a parametrization multiplies signals by, in every form but for the branches: in the plain one their tensors carry it."""
    branches = {} if form == "plain" else {"outputs of residual branches": rule.branch_multiplier}
    return {"attention logits": rule.attention_scale, "logits of a tied head": rule.logit_multiplier} | branches
