"""The role of each tensor: declared, or read off its uses and its place."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import MutransferError
from ..reading import check_matches, first_match
from ..rules import Place, Role, matrix_role
from ._accounts import Account
from ._match import Match
from ._structure import Structure


def declared_roles(
    matches: Mapping[str, Match], roles: Mapping[str, Role | str]
) -> dict[str, Role]:
    """Return the declared roles, by tensor; the first pattern that matches counts.

    Raises:
        MutransferError: there is no such role, or a pattern matches nothing.
    """
    for glob, role in roles.items():
        if role not in set(Role):
            raise MutransferError(
                f"roles={{{glob!r}: {role!r}}}: there is no such role; "
                f"choose one of {', '.join(Role)}"
            )
        check_matches("roles", glob, matches)
    pairs = ((name, first_match(name, roles)) for name in matches)
    return {name: Role(role) for name, role in pairs if role is not None}


def role_of(m: Match, structure: Structure, *, width: bool) -> Role:
    """Return the role of a tensor by its uses.

    Where no width grew, its place in the forward pass decides.

    Args:
        m: The tensor and its counterparts.
        structure: What the two forward passes show.
        width: True if any width of the model grew.
    """
    account = structure.accounts.get(m.parameter.name)
    if account is None or m.parameter.is_declared:
        return _declared_role(m, account, width=width)
    if not width:
        return _role_at_one_width(m, account, structure)
    match account.kind:
        case "matrix":
            return _hidden_role(m, account)
        case "readout":
            return _readout_role(m, account, structure)
        case "tied":
            return Role.TIED
        case "lookup":
            return Role.EMBEDDING if len(m.parameter.shape) > 1 else Role.VECTOR
        case "input":
            return Role.DEPTHWISE if account.is_kernel else Role.INPUT
        case "vector":
            return _vector_role(m)
        case "unused":
            return _declared_role(m, account, width=width)
    return _finite_role(m)


def _finite_role(m: Match) -> Role:
    """Return the role of a tensor without growing dimensions."""
    if m.parameter.kind == "gain":
        return Role.HEAD_GAIN
    return Role(m.parameter.kind) if m.parameter.kind in {"bias", "embedding"} else Role.SCALAR


def _hidden_role(m: Match, account: Account) -> Role:
    if m.parameter.axes is not None and "expert" in m.parameter.axes:
        return Role.EXPERT
    narrow = account.fan_out < account.fan_in if account.fan_in > 1 else False
    return Role.KEY_VALUE if narrow and account.is_key_value else Role.HIDDEN


def _readout_role(m: Match, account: Account, structure: Structure) -> Role:
    """Return the role of a matrix from the width to a finite number of features.

    A bottleneck, which goes on into another matrix, starts as a readout, too: the layers before it
    move along its rows, so that at the size of features its first change would grow with width.
    In a branch this is weak. Before a norm, or where it multiplies signals alone, no rule is
    known. Scores are a router's.
    """
    ends = account.ends
    place, _ = structure.places.get(m.parameter.name, (Place.OUTSIDE, 1))
    if "width" in ends:
        return Role.HIDDEN
    if m.parameter.kind == "router" or "topk" in ends:
        return Role.ROUTER
    if account.is_key_value:
        return Role.KEY_VALUE
    if place != Place.OUTSIDE:
        return Role.ROUTER if "softmax" in ends else Role.HIDDEN
    if "norm" in ends or ends == {"factor"}:
        return Role.HIDDEN
    return Role.READOUT


def _vector_role(m: Match) -> Role:
    """Return the role of a tensor that is used entry by entry."""
    kind = m.parameter.kind
    return Role(kind) if kind in {"bias", "gain", "embedding"} else Role.VECTOR


def _role_at_one_width(m: Match, account: Account, structure: Structure) -> Role:
    """Return the role of a tensor in a model whose width did not grow."""
    name, kind = m.parameter.name, m.parameter.kind
    if kind == "embedding":
        return Role.TIED if account.is_summed else Role.EMBEDDING
    if kind != "matrix":
        return Role(kind)
    if not account.is_summed:
        return Role.VECTOR
    if m.parameter.axes is not None and "expert" in m.parameter.axes:
        return Role.EXPERT
    if m.parameter.axes is not None and "in" not in m.parameter.axes and len(m.axes) > 2:
        return Role.DEPTHWISE
    inside = name in structure.places
    return matrix_role(inside or name not in structure.first, inside or name not in structure.final)


def _declared_role(m: Match, account: Account | None, *, width: bool) -> Role:
    """Return the role that a tensor's layer or the user gives, as it was not run."""
    kind = m.parameter.kind
    if kind == "embedding":
        return Role.TIED if m.parameter.aliases else Role.EMBEDDING
    if kind == "gain" and width and m.ratio("out") == 1:
        return Role.HEAD_GAIN
    if kind not in {"matrix", "vector"} or (kind == "vector" and "in" not in m.axes):
        return Role(kind)
    if m.parameter.axes is None:
        return Role.VECTOR
    if "expert" in m.axes:
        return Role.EXPERT
    if "in" not in m.axes and len(m.axes) > 2:
        return Role.DEPTHWISE
    if not width:
        return Role.HIDDEN
    role = matrix_role(m.ratio("in") != 1, m.ratio("out") != 1)
    looked_up = account is not None and account.kind == "lookup"
    return Role.EMBEDDING if looked_up and role == Role.INPUT else role
