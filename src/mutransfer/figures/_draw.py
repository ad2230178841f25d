"""One function that draws any result."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

from ..core import MutransferError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@singledispatch
def draw(result: object) -> Figure:
    """Draw a result; every figure registers the results that it draws.

    Raises:
        MutransferError: nothing draws results of this kind, or matplotlib is missing.
    """
    raise MutransferError(f"there is no figure for {type(result).__name__}")
