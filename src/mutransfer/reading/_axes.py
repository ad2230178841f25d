"""The axes of a parameter, and those that a user declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core import MutransferError
from ._names import check_matches

Axes = tuple[str, ...]
"""One word a dimension.

"out" and "in" are fan-out and fan-in, "finite" is a kernel, an index or a position and never width,
"expert" is the index of an expert in a mixture, "layer" that of a layer where all layers stand in
one tensor, and "flat" a dimension that holds both fan-out and fan-in.
"""

AXES = frozenset({"out", "in", "finite", "expert", "layer", "flat"})


def check_declared(names: Sequence[str], declared: Mapping[str, Axes]) -> None:
    """Raise unless every declared pattern matches a parameter and has known axes.

    Raises:
        MutransferError: naming the pattern.
    """
    for glob, axes in declared.items():
        check_matches("axes", glob, names)
        if isinstance(axes, str):
            raise MutransferError(
                f"axes of {glob!r} are {axes!r}: give one word for each dimension, "
                'such as ("out", "in")'
            )
        if unknown := set(axes) - AXES:
            raise MutransferError(
                f"axes of {glob!r}: {sorted(unknown)} are no axes; "
                'say "out", "in", "finite", "expert" or "layer" for each dimension'
            )
