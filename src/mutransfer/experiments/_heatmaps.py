"""The picture of losses over two hyperparameters: a heatmap for each size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..certificates import Surface
from ..figures import ACCENT, drawing, lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (2.7, 2.6)
"""Width and height of a heatmap, in inches."""

_SHOWN = 0.75
"""Share of the range from the lowest to the median loss beyond which all is of one colour."""


def heatmaps(rows: Mapping[str, Sequence[Surface]]) -> Figure:
    """Draw the loss at every point, darker where it is lower, and the ridge.

    A cell without colour diverged. The dot is the optimum, the dashed line the ridge through it.

    Args:
        rows: Surfaces of ascending sizes, by network; all of the same two hyperparameters.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure

        across = max(map(len, rows.values()))
        figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * len(rows)))
        grid = figure.subplots(len(rows), across, squeeze=False)
        for line, (name, surfaces) in zip(grid, rows.items(), strict=True):
            for axes, each in zip(line, surfaces, strict=True):
                _draw(axes, each)
                axes.set_title(f"{name}, depth {each.size['depth']}")
            line[0].set_ylabel("log2 of multiplier")
        for axes in grid[-1]:
            axes.set_xlabel("log2 of learning rate")
        lay_out(figure)
    return figure


def _draw(axes: Axes, surface: Surface) -> None:
    x, y, loss = np.array(surface.points).T
    places = [np.unique(each) for each in (x, y)]
    table = np.full((len(places[1]), len(places[0])), np.nan)
    table[np.searchsorted(places[1], y), np.searchsorted(places[0], x)] = loss
    finite = table[np.isfinite(table)]
    low, middle = float(finite.min()), float(np.median(finite))
    axes.pcolormesh(
        *places,
        np.where(np.isfinite(table), table, np.nan),
        shading="nearest",
        cmap="YlGnBu_r",
        vmin=low,
        vmax=low + _SHOWN * (middle - low),
    )
    axes.grid(visible=False)
    # The ridge goes on beyond the cells.
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    best = (surface.optimum[0].value, surface.optimum[1].value)
    axes.axline(best, slope=surface.ridge.value, color=ACCENT, linestyle="--", linewidth=1.0)
    axes.plot(*best, "o", color=ACCENT, markersize=5, markeredgecolor="white")
