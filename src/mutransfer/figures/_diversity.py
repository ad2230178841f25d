"""The figure of feature diversity: its exponent over depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import DiversityTrend
from ._canvas import INK, THEORY, drawing, lay_out, note
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (3.9, 3.1)
"""Width and height of the figure, in inches."""

_MOST = 0.5
"""The largest exponent of a stable network (Tensor Programs VI, 2310.02244, Section 7)."""


def diversity_figure(trend: DiversityTrend) -> Figure:
    """Draw the feature diversity exponent over depth.

    The dashed line is 1/2, the largest exponent of a stable network. Bars are standard errors.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=_SIZE)
        axes = figure.add_subplot()
        errors = np.nan_to_num(trend.errors)
        axes.set_xscale("log", base=2)
        axes.axhline(_MOST, label="1/2, the most of a stable network", **THEORY)
        style: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 3.5}
        axes.errorbar(trend.depth, trend.exponents, errors, **style)
        axes.set_xticks(trend.depth, [str(depth) for depth in trend.depth])
        axes.minorticks_off()
        axes.set_xlabel("depth")
        axes.set_ylabel("feature diversity exponent")
        figure.legend(loc="outside lower center", handlelength=2.4)
        note(axes, f"{trend.per_doubling:+.3f} per doubling of depth")
        lay_out(figure)
    return figure


@draw.register(DiversityTrend)
def _(trend: DiversityTrend) -> Figure:
    return diversity_figure(trend)
