"""The figure of a surface: contours, optimum, ridge and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..certificates import Surface
from ..core import MEMORY
from ..statistics import Array
from ._beta_axis import axis_label, set_beta_ticks
from ._canvas import ACCENT, DOT, DRIFT, FAINT, INK, TITLE, drawing, lay_out, minus, note
from ._draw import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (4.6, 4.1)
"""Width and height of the figure, in inches."""

_PLACES = 121
_MOST_TICKS = 8
_LEVELS = 9
_SIDE = 0.5
"""Steps of the grid that stay free around the runs."""

_ELLIPSE = 5.991
"""The 95% quantile of chi squared with two degrees of freedom."""

_RUN: dict[str, Any] = {"marker": "o", "s": 13, "linewidths": 0.5, "edgecolors": "white"}


def surface_figure(surface: Surface) -> Figure:
    """Draw the loss over two hyperparameters.

    Contours are the fitted quadratic; dots are runs, darker where the loss is lower, and a cross is
    a run that diverged. The ellipse is the 95% region of the optimum, the dashed line the ridge.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=_SIZE)
        axes = figure.add_subplot()
        places = np.array(surface.points)[:, :2]
        side = _SIDE * np.array(surface.steps)
        low, high = places.min(0) - side, places.max(0) + side
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        _draw_contours(axes, surface, low, high)
        _draw_runs(axes, surface)
        _draw_optimum(axes, surface, high - low)
        for number, axis in enumerate((axes.xaxis, axes.yaxis)):
            axis.set_label_text(_label(surface, number))
            if surface.scales[number] == MEMORY:
                set_beta_ticks(axis, low[number], high[number], _MOST_TICKS)
        axes.set_title(f"{surface.rule} at {surface.size}", pad=16, **TITLE)
        correlation = surface.correlation
        text = f"correlation {correlation}" if surface.has_ridge else "no ridge is seen"
        note(axes, f"{text}; {surface.status}")
        lay_out(figure)
    return figure


@draw.register(Surface)
def _(surface: Surface) -> Figure:
    return surface_figure(surface)


def _draw_contours(
    axes: Axes, surface: Surface, low: Float[Array, " 2"], high: Float[Array, " 2"]
) -> None:
    """Draw lines of equal loss, each twice the excess of the one before."""
    x, y = (np.linspace(low[i], high[i], _PLACES) for i in (0, 1))
    away = np.stack(np.meshgrid(x, y), -1) - [place.value for place in surface.optimum]
    excess = np.einsum("yxi,ij,yxj->yx", away, np.array(surface.hessian), away) / 2
    top = float(excess.max())
    if top > 0:
        levels = top * 2.0 ** np.arange(-_LEVELS, 0)
        axes.contour(x, y, excess, levels=levels, colors=FAINT, linewidths=0.6, alpha=0.7)


def _draw_runs(axes: Axes, surface: Surface) -> None:
    from matplotlib import colormaps

    points = np.array(surface.points)
    alive = np.isfinite(points[:, 2])
    ranks = np.argsort(np.argsort(points[alive, 2])) / max(int(alive.sum()) - 1, 1)
    colours = colormaps["YlGnBu"](1.0 - 0.64 * ranks)
    axes.scatter(points[alive, 0], points[alive, 1], c=colours, zorder=3, **_RUN)
    axes.scatter(
        points[~alive, 0], points[~alive, 1], marker="x", s=14, color=ACCENT, linewidths=0.9
    )


def _draw_optimum(axes: Axes, surface: Surface, room: Float[Array, " 2"]) -> None:
    """Draw the optimum with its ellipse, and the ridge through it."""
    best = np.array([place.value for place in surface.optimum])
    spread = np.array(surface.spread)
    if np.isfinite(spread).all():
        values, vectors = np.linalg.eigh(spread)
        angles = np.linspace(0, 2 * np.pi, 100)
        circle = np.stack([np.cos(angles), np.sin(angles)])
        ring = vectors @ (np.sqrt(np.maximum(values, 0) * _ELLIPSE)[:, None] * circle)
        axes.plot(*(best[:, None] + ring), color=ACCENT, linewidth=1.2, zorder=4)
    if surface.has_ridge:
        ends = np.array([-1.0, 1.0]) * float(np.hypot(*room))
        direction = np.array([1.0, surface.ridge.value])
        line = best[:, None] + ends * (direction / np.linalg.norm(direction))[:, None]
        axes.plot(*line, zorder=4, **DRIFT)
    axes.plot(*best, color=INK, linestyle="none", zorder=5, **DOT)


def _label(surface: Surface, number: int) -> str:
    words = axis_label(surface.over[number], surface.scales[number])
    return minus(f"log2 of {words}") if surface.scales[number] == "log2" else words
