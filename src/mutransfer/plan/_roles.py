"""What each tensor is to its network: declared, or read off its axes and its place."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from .._errors import MutransferError
from ..rules import Role, matrix_role
from ._read import Match
from ._trace import Trace


def declared_roles(matches: Mapping[str, Match], roles: Mapping[str, Role | str]) -> dict[str, Role]:
    """The role of each tensor whose name a declared pattern matches; the first counts."""
    for pattern, role in roles.items():
        if role not in set(Role):
            raise MutransferError(f"roles={{{pattern!r}: {role!r}}}: there is no such role; choose one of {', '.join(Role)}")
        if not any(fnmatchcase(name, pattern) for name in matches):
            raise MutransferError(
                f"roles={{{pattern!r}: ...}} matches no parameter of the model; its parameters begin with {[*matches][:5]}"
            )
    pairs = ((name, next((role for pattern, role in roles.items() if fnmatchcase(name, pattern)), None)) for name in matches)
    return {name: Role(role) for name, role in pairs if role is not None}


def role_of(m: Match, own: Trace, width: bool) -> Role:
    """What the tensor is to its network: by which axes grew, or by its place where no width grew at all."""
    kind, name = m.parameter.kind, m.parameter.name
    if kind == "embedding":
        return Role.TIED if name in own.feeds else Role.EMBEDDING
    if kind == "gain" and width and m.ratio("out") == 1:
        return Role.HEAD_GAIN
    if kind != "matrix":
        return Role(kind)
    if m.parameter.axes is None and name not in own.feeds:
        return Role.VECTOR
    if "expert" in m.axes:
        return Role.EXPERT
    if m.parameter.axes is not None and "in" not in m.axes and len(m.axes) > 2:
        return Role.DEPTHWISE
    if not width:
        return matrix_role(name not in own.first, name not in own.final)
    if m.parameter.axes is None:
        if m.ratio("out") != 1:
            raise MutransferError(
                f"{name}: signals are multiplied by it, and no rule says which dimension is its fan-in; "
                f"say so with axes={{{name!r}: ('in', 'out')}}"
            )
        return Role.VECTOR
    if m.ratio("in") != m.ratio("out") and any(name in attention.key_value for attention in own.attention):
        return Role.KEY_VALUE
    role = matrix_role(m.ratio("in") != 1, m.ratio("out") != 1)
    if role == Role.READOUT and name.startswith(tuple(f"{each}." for each in own.state_space)):
        return Role.HIDDEN
    if role == Role.READOUT and any(name in branch.tensors for branch in own.branches):
        raise MutransferError(
            f"{name}: its fan-in grows and its fan-out does not, yet it lies in a residual branch, so it is no readout; say what it is "
            f"with roles={{{name!r}: ...}}: a router, lora-a, key-value, or hidden for a bottleneck"
        )
    return role
