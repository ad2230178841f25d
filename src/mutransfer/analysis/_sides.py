"""The two factors of a product that is summed."""

from __future__ import annotations

from dataclasses import dataclass

from ..reading import Operation
from ._operations import CONVOLUTIONS, PRODUCTS

ADDED = frozenset({"addmm", "baddbmm", "addmv", "addbmm"})
"""Products to which their first input is added."""


@dataclass(frozen=True, slots=True)
class Side:
    """One factor of a contraction.

    Attributes:
        value: Its value.
        summed: Its dimensions that are summed.
        kept: For each dimension of the result, its own dimension; None where it has none.
    """

    value: int
    summed: tuple[int, ...]
    kept: tuple[int | None, ...]


def factors_of(operation: Operation) -> tuple[int, ...]:
    """Return the two values that an operation multiplies and sums."""
    if operation.name not in PRODUCTS | CONVOLUTIONS:
        return ()
    added = operation.name in ADDED
    return operation.inputs[1:3] if added else operation.inputs[:2]


def sides_of(operation: Operation) -> tuple[Side, Side]:
    """Return the two factors of a product of matrices or vectors."""
    x, y = factors_of(operation)
    match operation.name:
        case "mm" | "addmm":
            return Side(x, (1,), (0, None)), Side(y, (0,), (None, 1))
        case "bmm" | "baddbmm":
            return Side(x, (2,), (0, 1, None)), Side(y, (1,), (0, None, 2))
        case "mv" | "addmv":
            return Side(x, (1,), (0,)), Side(y, (0,), (None,))
        case "_grouped_mm":
            return Side(x, (1,), (0, None)), Side(y, (1,), (None, 2))
        case "addbmm":
            return Side(x, (0, 2), (1, None)), Side(y, (0, 1), (None, 2))
    return Side(x, (0,), ()), Side(y, (0,), ())
