"""The figure of collapse: normalised loss curves, a panel for each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..certificates import Collapse, Collapses
from ..core import MutransferError
from ._canvas import FAINT, TITLE, drawing, lay_out, loss_ticks, note, shades, size_legend
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (2.9, 2.9)
"""Width and height of a panel, in inches."""


def collapse_figure(collapses: Collapses) -> Figure:
    """Draw losses over progress, a panel for each outcome that has curves.

    Both scales are logarithmic. Losses are divided by the typical first one. Beyond the dotted line
    curves are not compared.

    Raises:
        MutransferError: no outcome has curves, or matplotlib is missing.
    """
    drawn = [each for each in collapses if each.curves]
    if not drawn:
        raise MutransferError("no curves were compared: " + "; ".join(map(str, collapses)))
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.3 + len(drawn) * _PANEL[0], _PANEL[1]))
        for column, each in enumerate(drawn):
            axes = figure.add_subplot(1, len(drawn), column + 1)
            _draw_collapse(axes, each)
            axes.set_ylabel("loss / first loss" if not column else "")
        lay_out(figure)
    return figure


@draw.register(Collapses)
def _(collapses: Collapses) -> Figure:
    return collapse_figure(collapses)


def _draw_collapse(axes: Axes, each: Collapse) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import PercentFormatter

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    colours = shades(len(each.curves))
    for curve, colour in zip(each.curves, colours, strict=True):
        axes.plot(np.arange(1, len(curve) + 1) / len(curve), curve, color=colour, linewidth=1.1)
    axes.axvline(each.until, color=FAINT, linewidth=0.9, linestyle=":")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("progress of training")
    loss_ticks(axes)
    axes.set_title(each.name, pad=16, **TITLE)
    note(axes, each.outcome)
    handles = [
        Line2D([], [], color=colour, label=f"{size:g}")
        for size, colour in zip(each.sizes, colours, strict=True)
    ]
    size_legend(axes, handles, each.axis)
