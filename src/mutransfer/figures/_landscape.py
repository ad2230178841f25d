"""The figure of landscapes: the loss of infinite networks over a hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..core import MutransferError
from ..limits import Curve, Landscape, Landscapes, scaling
from ._canvas import (
    DOT,
    DRIFT,
    FAINT,
    INK,
    TITLE,
    drawing,
    lay_out,
    loss_ticks,
    note,
    shades,
    size_legend,
)
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.5, 2.9)
"""Width and height of a panel, in inches."""

_LARGEST_SHARE = 2.0
"""Losses up to this many times the highest loss at the lowest value are drawn."""

_MARGIN = 1.15
"""Factor between the limits of an axis and the losses."""

_OPTIMUM: dict[str, Any] = {**DOT, "linestyle": "none"}
_FINITE: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 3.6,
    "markerfacecolor": "none",
    "markeredgewidth": 0.9,
    "elinewidth": 0.9,
}
_MARKERS = "sD^v<>"
_UNSETTLED: dict[str, Any] = {
    "linestyle": "none",
    "marker": "x",
    "markersize": 4.5,
    "markeredgewidth": 0.9,
}

_DARKEST = 0.8
"""Place of the largest finite depth in the colour map, which ends near the ink."""

_NORMAL = 1.96
"""Errors in half a 95% interval."""


def landscape_figure(landscapes: Sequence[Landscape]) -> Figure:
    """Draw loss over a hyperparameter, a panel for each landscape, on common scales.

    Lines are the limit of infinite width, darker with depth, infinite depth in black, with 95%
    intervals where it is sampled. Dots are optima, with their intervals as bars; crosses mark
    values that did not reach the accuracy. Open marks are finite networks.

    Raises:
        MutransferError: there are none, every loss is zero or infinite, or matplotlib is missing.
    """
    if not landscapes:
        raise MutransferError("the figure has no panels: give at least one landscape")
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.2 + len(landscapes) * _PANEL[0], 0.75 + _PANEL[1]))
        grid = figure.add_gridspec(1, len(landscapes))
        limits, style = _loss_limits(landscapes), _Style.of(landscapes)
        for column, landscape in enumerate(landscapes):
            axes = figure.add_subplot(grid[column])
            _draw_landscape(axes, landscape, limits, style, first=not column)
        _legends(figure, axes, style)
        lay_out(figure)
    return figure


@draw.register(Landscape)
def _(landscape: Landscape) -> Figure:
    return landscape_figure([landscape])


@draw.register(Landscapes)
def _(landscapes: Landscapes) -> Figure:
    return landscape_figure(list(landscapes))


@dataclass(frozen=True)
class _Style:
    """The style that all panels share.

    Attributes:
        colours: A colour for each depth, from light to dark.
        markers: A marker for each finite width.
        curves: All curves.
    """

    colours: dict[float, str]
    markers: dict[float, str]
    curves: Sequence[Curve]

    @classmethod
    def of(cls, landscapes: Sequence[Landscape]) -> Self:
        curves = [curve for landscape in landscapes for curve in landscape.curves]
        depths = sorted({float(curve.depth) for curve in curves})
        finite = [depth for depth in depths if not math.isinf(depth)]
        darkest = _DARKEST if math.inf in depths else 1.0
        colours = dict(zip(finite, shades(len(finite), darkest=darkest), strict=True))
        if math.inf in depths:
            colours[math.inf] = INK
        widths = sorted({curve.width for curve in curves if not math.isinf(curve.width)})
        markers = {width: _MARKERS[i % len(_MARKERS)] for i, width in enumerate(widths)}
        return cls(colours, markers, curves)


def _loss_limits(landscapes: Sequence[Landscape]) -> tuple[float, float]:
    """Return limits that hold the losses, but for those far above the first ones."""
    curves = [
        losses[np.isfinite(losses)]
        for landscape in landscapes
        for curve in landscape.curves
        for losses in [landscape.points(curve).losses]
    ]
    losses = np.concatenate(curves)
    if not len(losses):
        raise MutransferError("every value diverged at every depth: give smaller ones")
    if not (losses > 0).any():
        raise MutransferError("every loss is 0: there is nothing to draw")
    low = losses[losses > 0].min()
    start = max(curve[0] for curve in curves if len(curve))
    high = max(min(losses.max(), _LARGEST_SHARE * start), low)
    return float(low) / _MARGIN, float(high) * _MARGIN


def _draw_landscape(
    axes: Axes, landscape: Landscape, limits: tuple[float, float], style: _Style, *, first: bool
) -> None:
    if landscape.logarithmic:
        axes.set_xscale("log", base=2)
    else:
        axes.set_xscale("linear")
    axes.set_yscale("log")
    axes.set_ylim(limits)
    axes.set_xlabel("learning rate" if landscape.over == "lr" else landscape.over.replace("_", " "))
    metric = "final" if landscape.metric == "final" else "mean"
    axes.set_ylabel(f"{metric} training loss" if first else "")
    axes.tick_params(labelleft=first)
    loss_ticks(axes)
    for curve in landscape.curves:
        _draw_curve(axes, landscape, curve, style)
    _draw_optima(axes, landscape, style)
    axes.set_title(scaling(landscape.problem), pad=16, **TITLE)
    note(axes, _moved(landscape))


def _draw_curve(axes: Axes, landscape: Landscape, curve: Curve, style: _Style) -> None:
    """Draw the limit as a line with its 95% intervals, finite networks as marks."""
    points, colour = landscape.points(curve), style.colours[curve.depth]
    x, errors = points.values, points.errors
    losses = np.where(np.isfinite(points.losses), points.losses, np.nan)
    if not math.isinf(curve.width):
        mark: dict[str, Any] = {"marker": style.markers[curve.width], "zorder": 3, **_FINITE}
        axes.errorbar(x, losses, errors, color=colour, **mark)
        return
    axes.plot(x, losses, color=colour, zorder=2)
    half = _NORMAL * errors
    axes.fill_between(x, losses - half, losses + half, color=colour, alpha=0.2, linewidth=0)
    if landscape.accuracy is not None:
        axes.vlines(x, losses - half, losses + half, color=colour, linewidth=0.9, zorder=2)
    missed = np.isin(x, curve.unsettled) & np.isfinite(losses)
    if missed.any():
        axes.plot(x[missed], losses[missed], color=colour, zorder=3, **_UNSETTLED)


def _draw_optima(axes: Axes, landscape: Landscape, style: _Style) -> None:
    """Draw the limit's optima as dots with their intervals, joined by the drift."""
    path = []
    for curve in _infinite(landscape):
        if curve.optimum is not None:
            path.append((curve.optimum, float(np.nanmin(landscape.points(curve).losses))))
            colour = style.colours[curve.depth]
            axes.plot(*path[-1], color=colour, zorder=5, **_OPTIMUM)
            if curve.interval is not None:
                axes.hlines(path[-1][1], *curve.interval, color=colour, linewidth=1.1, zorder=4)
    if len(path) > 1:
        axes.plot(*zip(*path, strict=True), zorder=4, **DRIFT)


def _infinite(landscape: Landscape) -> list[Curve]:
    """Return the curves of infinite width."""
    return [curve for curve in landscape.curves if math.isinf(curve.width)]


def _moved(landscape: Landscape) -> str:
    infinite = _infinite(landscape)
    if len(infinite) < 2:
        return ""
    try:
        drift = landscape.drift()
    except MutransferError:
        return "an optimum lies beyond the values"
    unit = " octaves" if landscape.logarithmic else ""
    depths = f"depth {_name(infinite[0].depth)} to {_name(infinite[-1].depth)}"
    return f"optimum moves {drift:+.2f}{unit}, {depths}"


def _name(size: float) -> str:
    return "∞" if math.isinf(size) else f"{size:g}"


def _legends(figure: Figure, axes: Axes, style: _Style) -> None:
    """Name the depths at the last panel, and explain the marks below all of them."""
    from matplotlib.lines import Line2D

    depths = [
        Line2D([], [], color=colour, label=_name(depth)) for depth, colour in style.colours.items()
    ]
    size_legend(axes, depths, "depth")
    key = [
        Line2D([], [], color=INK, label="infinite width"),
        Line2D([], [], color=FAINT, label="its optimum", **_OPTIMUM),
    ]
    if any(line.get_linestyle() == "--" for panel in figure.axes for line in panel.lines):
        key.append(Line2D([], [], label="its drift", **DRIFT))
    if any(curve.unsettled for curve in style.curves):
        key.append(Line2D([], [], color=FAINT, label="accuracy not reached", **_UNSETTLED))
    marks = {name: value for name, value in _FINITE.items() if name != "elinewidth"}
    key += [
        Line2D([], [], color=FAINT, marker=marker, label=f"width {width:g}", **marks)
        for width, marker in style.markers.items()
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=4, handlelength=2.2)
