"""The role of each tensor: declared, or read off its axes and its place."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import MutransferError
from ..reading import Trace, check_matches, first_match
from ..rules import Role, matrix_role
from ._match import Match


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


def role_of(m: Match, trace: Trace, width: bool) -> Role:
    """Return the role of a tensor by the axes that grew.

    Where no width grew, its place in the forward pass decides.

    Args:
        m: The tensor and its counterparts.
        trace: The forward pass of the model.
        width: True if any width of the model grew.

    Raises:
        MutransferError: no rule tells the role.
    """
    kind, name = m.parameter.kind, m.parameter.name
    if kind == "embedding":
        return Role.TIED if name in trace.feeds else Role.EMBEDDING
    if kind == "gain" and width and m.ratio("out") == 1:
        return Role.HEAD_GAIN
    if kind != "matrix":
        return Role(kind)
    if m.parameter.axes is None:
        return _bare_role(m, trace, width)
    if "expert" in m.axes:
        return Role.EXPERT
    if "in" not in m.axes and len(m.axes) > 2:
        return Role.DEPTHWISE
    if not width:
        return matrix_role(name not in trace.first, name not in trace.final)
    return _matrix_role(m, trace)


def _bare_role(m: Match, trace: Trace, width: bool) -> Role:
    """Return the role of a matrix that no layer explains."""
    name = m.parameter.name
    if name not in trace.feeds:
        return Role.VECTOR
    if "expert" in m.axes:
        return Role.EXPERT
    if not width:
        return matrix_role(name not in trace.first, name not in trace.final)
    if m.ratio("out") != 1:
        raise MutransferError(
            f"{name}: signals are multiplied by it, and no rule says which dimension is its "
            f"fan-in; say so with axes={{{name!r}: ('in', 'out')}}"
        )
    return Role.VECTOR


def _matrix_role(m: Match, trace: Trace) -> Role:
    """Return the role of a layer's matrix in a model whose width grew."""
    name = m.parameter.name
    shared = any(name in attention.key_value for attention in trace.attention)
    if m.ratio("in") != m.ratio("out") and shared:
        return Role.KEY_VALUE
    role = matrix_role(m.ratio("in") != 1, m.ratio("out") != 1)
    if role == Role.READOUT and name.startswith(tuple(f"{each}." for each in trace.state_space)):
        return Role.HIDDEN
    if role == Role.READOUT and any(name in branch.tensors for branch in trace.branches):
        raise MutransferError(
            f"{name}: its fan-in grows and its fan-out does not, yet it lies in a residual branch, "
            f"so it is no readout; say what it is with roles={{{name!r}: ...}}: a router, lora-a, "
            "key-value, or hidden for a bottleneck"
        )
    return role
