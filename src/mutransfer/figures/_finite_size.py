"""The figure of finite size: errors of finite networks, and theory's powers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import FiniteSize, Law
from ._canvas import DOT, FAINT, INK, THEORY, TITLE, drawing, lay_out, loss_ticks, note
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (2.7, 2.9)
"""Width and height of a panel, in inches."""

_SIDES = 1.3
"""Factor between the limits of an axis and the sizes."""

_LEAST_SHARE = 0.01
"""Smallest lower end of a band that is drawn, as a share of its upper end: the scale is log."""

_MEASURED: dict[str, Any] = {**DOT, "linestyle": "none"}


def finite_size_figure(result: FiniteSize) -> Figure:
    """Draw errors over size on logarithmic scales, a panel for each law.

    The dashed line has the power of theory.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        figure = Figure(figsize=(0.6 + len(result.laws) * _PANEL[0], _PANEL[1]))
        grid = figure.add_gridspec(1, len(result.laws))
        for column, law in enumerate(result.laws.values()):
            axes = figure.add_subplot(grid[column])
            _draw_law(axes, law)
            axes.set_ylabel(f"rms error of {result.of}" if not column else "")
        key = [
            Line2D([], [], color=INK, label="measured", **_MEASURED),
            Line2D([], [], label="theory's power, fitted constant", **THEORY),
        ]
        figure.legend(handles=key, loc="outside lower center", ncols=2, handlelength=2.4)
        lay_out(figure)
    return figure


@draw.register(FiniteSize)
def _(result: FiniteSize) -> Figure:
    return finite_size_figure(result)


def _draw_law(axes: Axes, law: Law) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ends = np.array([law.sizes[0] / _SIDES, law.sizes[-1] * _SIDES])
    line, constant = ends**-law.power, law.constant
    if constant.value:
        axes.plot(ends, constant.value * line, **THEORY)
    if constant.high:
        low = max(constant.low, _LEAST_SHARE * constant.high)
        band: dict[str, Any] = {"color": FAINT, "alpha": 0.15, "linewidth": 0}
        axes.fill_between(ends, low * line, constant.high * line, **band)
    # An error of 0 is one that noise hides.
    measured = [pair for pair in zip(law.sizes, law.errors, strict=True) if pair[1] > 0]
    if measured:
        axes.plot(*zip(*measured, strict=True), color=INK, **_MEASURED)
    loss_ticks(axes)
    axes.set_xticks(law.sizes, [str(size) for size in law.sizes])
    axes.minorticks_off()
    axes.set_xlabel(law.axis)
    axes.set_title(law.name, pad=16, **TITLE)
    note(axes, f"fitted power {law.fitted}" if law.fitted else "no power above noise")
