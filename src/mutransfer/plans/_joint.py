"""Matrices that are multiplied entry by entry before they meet a signal."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import MutransferError
from ..reading import pattern
from ..rules import Role
from ._accounts import Account
from ._match import Match


def check_joint(
    matches: Mapping[str, Match], accounts: Mapping[str, Account], declared: Mapping[str, Role]
) -> None:
    """Raise where two of such matrices are trained.

    One of them would start at fan_in^-1/2 and the other at 1, and both would need other rates than
    any role has. So declared roles do not help, unless one of the two is fixed.

    Args:
        matches: The tensors with their counterparts in the base.
        accounts: The uses of each tensor.
        declared: The declared roles.

    Raises:
        MutransferError: two are trained; the message names both.
    """
    for name, account in accounts.items():
        for other in sorted(account.joint):
            both = f"{name} and {other} are multiplied entry by entry before they are summed with "
            if any(matches[each].ratio("in") != account.fan_in for each in (name, other)):
                raise MutransferError(
                    f"{both}a signal, each along a part of the sum, as in a Kronecker product, and "
                    "no roles are right for both: apply one after the other to the signal"
                )
            if Role.FROZEN not in {declared.get(name), declared.get(other)}:
                raise MutransferError(
                    f"{both}a signal, and no roles are right for both: learn one matrix in their "
                    "place, or let a vector multiply the rows or columns, or keep one as it is, "
                    f'with roles={{"{pattern(other)}": "frozen"}}'
                )
