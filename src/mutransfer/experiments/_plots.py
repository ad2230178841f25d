"""The picture of an experiment: sweeps, or panels of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..certificates import transfer
from ..figures import Section, drawing, lay_out, panels, shades, transfer_figure
from ..studies import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.3, 2.75)
"""Width and height of a panel, in inches."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a panel.

    Attributes:
        name: Its name in the legend; empty for none.
        x: Places along the axis.
        y: Values; infinite and missing ones are left out.
        style: "line" with dots, "dots" alone, or a "dashed" line, for what theory says.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["line", "dots", "dashed"] = "line"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A panel.

    Attributes:
        title: The rule, or what else differs between panels.
        x: Name of the horizontal axis.
        y: Name of the vertical one.
        lines: The lines, in an order that shades can show, such as ascending width.
        log: Axes that are logarithmic, such as "xy".
        top: Largest value shown, where a few of them hide the others.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Series]
    log: str = ""
    top: float | None = None


def sweeps(runs: Mapping[str, Runs], axis: str | None = None) -> Figure:
    """Draw loss against the hyperparameter, a row a record, a column a rule.

    Args:
        runs: Records by title.
        axis: The axis that a line has a size of each; the first that varies by default.

    Raises:
        MutransferError: matplotlib is missing.
    """
    rows = [Section.of(transfer(each), title=title, axis=axis) for title, each in runs.items()]
    return transfer_figure(panels(rows))


def plot(parts: Sequence[Plot], columns: int = 3) -> Figure:
    """Draw panels beside each other, at most so many in a row.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure

        across = min(columns, len(parts))
        down = -(-len(parts) // across)
        figure = Figure(figsize=(_PANEL[0] * across, _PANEL[1] * down))
        grid = figure.subplots(down, across, squeeze=False).flat
        for axes, panel in zip(grid, parts, strict=False):
            _draw(axes, panel)
        for axes in list(grid)[len(parts) :]:
            axes.set_axis_off()
        lay_out(figure)
    return figure


def _draw(axes: Axes, panel: Plot) -> None:
    solid = [line for line in panel.lines if line.style != "dashed"]
    colours = dict(zip(map(id, solid), shades(len(solid)), strict=True))
    for line in panel.lines:
        looks = {"line": "o-", "dots": "o", "dashed": "--"}[line.style]
        colour = colours.get(id(line), "0.45")
        axes.plot(line.x, line.y, looks, color=colour, label=line.name or None, markersize=3)
    if "x" in panel.log:
        axes.set_xscale("log", base=2)
    if "y" in panel.log:
        axes.set_yscale("log")
    if panel.top is not None:
        axes.set_ylim(top=panel.top)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if any(line.name for line in panel.lines):
        # Lines are still seen behind it, where there is no free place.
        axes.legend(fontsize=7, frameon=True, framealpha=0.6, edgecolor="none")
