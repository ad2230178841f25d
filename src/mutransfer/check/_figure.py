"""The figure of a coordinate check: small multiples by module, size across, one line a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ._result import CoordinateCheck


def figure(check: CoordinateCheck) -> Figure:
    """See `CoordinateCheck.figure`."""
    raise NotImplementedError
