"""Bottlenecks: matrices from the width to a fixed number of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..reading import pattern
from ..rules import Role
from ._accounts import Account
from ._tensor import TensorPlan


def bottlenecks(
    accounts: Mapping[str, Account], tensors: Mapping[str, TensorPlan]
) -> Iterator[str]:
    """Yield what to know of bottlenecks for which no rule is proven.

    Args:
        accounts: The uses of each tensor.
        tensors: The plan of each tensor.
    """
    hidden = {n for n, t in tensors.items() if t.role in {Role.HIDDEN, Role.KEY_VALUE}}
    made = (n for n, each in accounts.items() if each.kind == "readout" and not each.is_generated)
    narrow = [name for name in made if name in hidden]
    if narrow:
        yield (
            f"{len(narrow)} tensors such as {narrow[0]} go from the width to a fixed number of "
            "features and start as hidden matrices do, so that the first change of these may grow "
            f'with width; roles={{"{pattern(narrow[0])}": "readout"}} starts them at 1/fan_in'
        )
    readouts = {n for n, t in tensors.items() if t.role == Role.READOUT}
    turned = [n for n, each in accounts.items() if each.is_direction and n in readouts]
    if turned:
        yield (
            f"{len(turned)} tensors such as {turned[0]} go from the width to a fixed number of "
            "features that are divided by their length: these start small, at 1/fan_in, so that "
            "the first change of their direction may grow with width"
        )
