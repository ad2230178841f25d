"""The transfer plot: loss against a hyperparameter, and how far its optimum moves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..certificates import Transfer, Transfers, distance_text, transfer, unit
from ..core import MEMORY, MutransferError
from ..statistics import Array
from ..studies import Runs
from ._beta_axis import axis_label, set_beta_ticks
from ._canvas import (
    ACCENT,
    DOT,
    DRIFT,
    FAINT,
    drawing,
    lay_out,
    loss_ticks,
    minus,
    power_of_two,
    shades,
    size_legend,
)
from ._draw import draw
from ._panels import Line, Panel, panels, sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.3, 2.75)
"""Width and height of a panel, in inches."""

_MARGIN = 0.06
"""Share of the range of losses that stays free above and below them."""

_LOG_FROM = 3.0
"""Ratio of the highest loss to the lowest above which their axis is logarithmic."""

_SIDES = 0.05
"""Share of the range of a linear hyperparameter that stays free at its sides."""

_MOST_TICKS, _FEWER_TICKS = 8, 5
_LONGEST_TITLE = 38
_LINE = 10
"""Height of a line below a title, in points."""

_STYLES: dict[str, dict[str, Any]] = {
    "log2": {"marker": "o", "markersize": 2.2},
    "linear": {"marker": "o", "markersize": 2.2},
    MEMORY: {"marker": "o", "markersize": 2.2},
    "choice": {"marker": "o", "markersize": 3.5, "linewidth": 0.5},
    "crowded": {"marker": "", "linewidth": 0.5, "alpha": 0.6},
}
"""Lines by scale; between choices they only show what belongs together."""

_BAR: dict[str, Any] = {"color": ACCENT, "linewidth": 2.2, "solid_capstyle": "butt"}
_CROSS: dict[str, Any] = {
    "marker": "x",
    "markersize": 3.4,
    "markeredgewidth": 1.1,
    "linestyle": "none",
}


def transfer_figure(panels: Sequence[Panel]) -> Figure:
    """Draw the loss against the learning rate, or another hyperparameter on its scale.

    Every study and hyperparameter is a row, every rule a column, every size a line. A dot marks
    each optimum, a bar its 95% interval, a dashed line their drift. The strip above a panel has a
    row for each size, with a cross at every value where seeds diverged, faint where only some did.

    Args:
        panels: Panels, as `mutransfer.figures.panels` returns them.

    Raises:
        MutransferError: there are no panels, or matplotlib is missing.
    """
    if not panels:
        raise MutransferError("the figure has no panels: give at least one section with runs")
    with drawing():
        from matplotlib.figure import Figure

        places = list(_places(panels))
        rows, columns = (1 + max(place[i] for place in places) for i in (0, 1))
        figure = Figure(figsize=(1.0 + columns * _PANEL[0], 0.4 + rows * _PANEL[1]))
        grid = figure.add_gridspec(rows, columns)
        frames = _frames(panels)
        for panel, place in zip(panels, places, strict=True):
            row = [column for row, column in places if row == place[0]]
            axes = figure.add_subplot(grid[place])
            title = _title(panel, several=len(frames) > 1)
            first = place[1] == min(row)
            _draw_panel(axes, panel, frames[panel.section], title=title, first=first)
            if place[1] == max(row):
                _legend(axes, panel)
        _key(figure, panels, columns=4 if columns > 1 else 2)
        lay_out(figure)
    return figure


@draw.register(Transfers)
def _(transfers: Transfers) -> Figure:
    return transfer_figure(panels(sections(transfers)))


@draw.register(Runs)
def _(runs: Runs) -> Figure:
    return transfer_figure(panels(sections(transfer(runs))))


def _places(panels: Sequence[Panel]) -> Iterator[tuple[int, int]]:
    """Yield row and column of each panel."""
    rows = list(dict.fromkeys(panel.row for panel in panels))
    rules = list(dict.fromkeys(panel.rule for panel in panels))
    for panel in panels:
        yield rows.index(panel.row), rules.index(panel.rule)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The scales that the panels of one section share, so that they can be compared.

    Attributes:
        x: Limits of the hyperparameter, on its scale.
        y: Limits of the loss.
        log: True if the axis of the loss is logarithmic.
        strip: True if runs diverged, so that panels have the strip above.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    strip: bool


def _frames(panels: Sequence[Panel]) -> dict[str, _Frame]:
    """Return the frame of each section."""
    own_panels: dict[str, list[Panel]] = {}
    for panel in panels:
        own_panels.setdefault(panel.section, []).append(panel)
    return {
        section: _frame(
            [line for panel in each for line in panel.lines], each[0].scale, each[0].crowded
        )
        for section, each in own_panels.items()
    }


def _frame(lines: Sequence[Line], scale: str, crowded: bool) -> _Frame:
    """Return limits that hold the losses, but for those that would flatten the rest."""
    places = np.concatenate([line.places for line in lines])
    margin_of_x = _SIDES * (float(np.ptp(places)) or 1.0) if scale == "linear" else 0.4
    losses = np.concatenate([line.losses[:, np.isfinite(line.mean)].ravel() for line in lines])
    losses = losses[~np.isnan(losses)]
    low, high = (float(losses.min()), float(losses.max())) if len(losses) else (0.0, 1.0)
    starts = [line.mean[np.isfinite(line.mean)][:1] for line in lines]
    if low > 0:
        # Training at the lowest rates hardly starts, so that their loss is about that of no
        # training: what lies far above it is on the way to divergence.
        start = float(np.concatenate(starts).max())
        # Of many sizes in one panel only the valleys can be told apart.
        high = min(high, 1.02 * start if crowded else max(10 * low, 2 * start))
    log = low > 0 and high > _LOG_FROM * low
    if log:
        margin = (high / low) ** _MARGIN
        y = (low / margin, high * margin)
    else:
        margin = _MARGIN * ((high - low) or abs(high) or 1.0)
        y = (low - margin, high + margin)
    return _Frame(
        x=(float(places.min()) - margin_of_x, float(places.max()) + margin_of_x),
        y=y,
        log=log,
        strip=any(line.diverged.any() for line in lines),
    )


def _draw_panel(axes: Axes, panel: Panel, frame: _Frame, *, title: str, first: bool) -> None:
    axes.set_xlim(frame.x)
    axes.set_yscale("log" if frame.log else "linear")
    axes.set_ylim(frame.y)
    axes.set_xlabel(axis_label(panel.over, panel.scale))
    axes.set_ylabel(panel.metric if first else "")
    axes.tick_params(labelleft=first)
    _ticks(axes, panel, frame)
    if frame.log:
        loss_ticks(axes)
    for rank, line in enumerate(panel.lines):
        marks = _STYLES["crowded" if panel.crowded else panel.scale]
        _draw_line(axes, line, _colour(panel, line), marks, zorder=2 + rank / 1000)
    _draw_optima(axes, panel, frame)
    top = _draw_diverged(axes, panel, first) if frame.strip else axes
    found = _finding(panel)
    top.set_title(found, loc="left", fontsize=7.5, color=FAINT, pad=4)
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    font: dict[str, Any] = {"fontsize": 9.5, "fontweight": "bold", "parse_math": False}
    top.annotate(title, (0, 1), (0, 15 + _LINE * found.count("\n")), **font, **style)


def _draw_line(
    axes: Axes, line: Line, colour: str, style: Mapping[str, Any], zorder: float
) -> None:
    """Draw mean and range over seeds, with dotted lines to diverged neighbours."""
    mean, places = line.mean, line.places
    finite = np.isfinite(mean)
    low = np.where(finite, np.nan_to_num(line.losses, nan=np.inf).min(axis=0), np.nan)
    high = np.where(finite, np.nan_to_num(line.losses, nan=-np.inf).max(axis=0), np.nan)
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0, zorder=zorder - 1)
    shown = np.where(finite, mean, np.nan)
    axes.plot(places, shown, color=colour, zorder=zorder, label=str(line.size), **style)
    dotted: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (1, 1.5)), "label": "_out"}
    for here, there in _ways_out(mean):
        ends = [mean[here], axes.get_ylim()[1]]
        axes.plot(places[[here, there]], ends, color=colour, zorder=zorder - 0.5, **dotted)


def _draw_optima(axes: Axes, panel: Panel, frame: _Frame) -> None:
    """Draw each optimum as a dot on its line with its interval, joined by the drift."""
    path = []
    for line in panel.lines:
        if (best := line.optimum) is None:
            continue
        finite = np.isfinite(line.mean)
        losses = np.log(line.mean[finite]) if frame.log else line.mean[finite]
        height = float(np.interp(best.position, line.places[finite], losses))
        path.append((best.position, math.exp(height) if frame.log else height))
        style: dict[str, Any] = {"linestyle": "none", "label": "_optimum", "zorder": 5, **DOT}
        if panel.crowded:
            style["markersize"] = 3.5
        elif panel.scale == "choice":
            style |= {"markersize": 7, "markeredgecolor": ACCENT, "markeredgewidth": 1.5}
        else:
            axes.plot([best.low, best.high], [path[-1][1]] * 2, zorder=4, label="_interval", **_BAR)
        axes.plot(*path[-1], color=_colour(panel, line), **style)
    if path and _is_path(panel):
        axes.plot(*zip(*path, strict=True), zorder=3.5, label="_drift", **DRIFT)


def _is_path(panel: Panel) -> bool:
    """Return True if a line joins the optima: not choices, nor sizes of several axes."""
    return not panel.crowded and panel.scale != "choice"


def _ways_out(mean: Float[Array, " values"]) -> list[tuple[int, int]]:
    """Return pairs of neighbouring values: the first has a loss, the second diverged."""
    pairs = [(i, j) for i in range(len(mean)) for j in (i - 1, i + 1) if 0 <= j < len(mean)]
    return [(i, j) for i, j in pairs if np.isfinite(mean[i]) and np.isinf(mean[j])]


def _draw_diverged(axes: Axes, panel: Panel, first: bool) -> Axes:
    """Draw the strip above: a cross for each size and rate with diverged runs."""
    count = len(panel.values)
    strip = axes.inset_axes((0, 1.0, 1, 0.035 * (count + 1)), sharex=axes)
    strip.set_ylim(count, -1)
    strip.set_facecolor("#f4f4f4")
    strip.grid(False)
    strip.spines[:].set_visible(False)
    strip.set_yticks([(count - 1) / 2], ["diverged"], fontsize=7, color=FAINT)
    strip.tick_params(length=0, labelleft=first)
    strip.xaxis.set_visible(False)
    for line in panel.lines:
        rank, colour = panel.values.index(line.size[panel.axis]), _colour(panel, line)
        some = (line.diverged > 0) & (line.diverged < 1)
        for alpha, chosen in ((0.4, some), (1.0, line.diverged == 1)):
            # Matplotlib takes as long for a line without points.
            if chosen.any():
                ranks = np.full(chosen.sum(), rank)
                style = {"color": colour, "alpha": alpha, "label": "_diverged", **_CROSS}
                strip.plot(line.places[chosen], ranks, **style)
    return strip


def _title(panel: Panel, several: bool) -> str:
    room = max(10, _LONGEST_TITLE - len(panel.at) - len(panel.rule))
    name = textwrap.shorten(panel.section, room, placeholder="...") if several else ""
    place = ", ".join(part for part in (name, panel.at) if part)
    return f"{place}: {panel.rule}" if place else panel.rule


def _finding(panel: Panel) -> str:
    """Return what was found, as the line below the title of a panel."""
    if panel.outcome is None:
        return "drift not known"
    if not isinstance(panel.outcome, Transfer):
        same = panel.outcome.same
        return f"{panel.outcome.value} at every size" if same else "changes with size"
    drift, distance = panel.outcome.drift, unit(panel.scale, panel.over)
    if panel.crowded:
        parts = (f"{distance_text(each, panel.scale)} of {axis}" for axis, each in drift.items())
        return minus("\n".join([f"{distance} per doubling:", *parts]))
    if panel.axis not in drift:
        return ""
    moved = distance_text(drift[panel.axis], panel.scale)
    return minus(f"{moved} {distance} per doubling of {panel.axis}")


def _ticks(axes: Axes, panel: Panel, frame: _Frame) -> None:
    """Label the hyperparameter: choices by name, a logarithmic scale by powers of two."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    if panel.scale == "choice":
        axes.set_xticks(range(len(panel.choices)), panel.choices)
    if panel.scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(_FEWER_TICKS))
    if panel.scale == MEMORY:
        set_beta_ticks(axes.xaxis, *frame.x, _FEWER_TICKS)
    if panel.scale != "log2":
        return
    step = 1
    while (frame.x[1] - frame.x[0]) / step > _MOST_TICKS:
        step *= 2
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: power_of_two(place)))


def _colour(panel: Panel, line: Line) -> str:
    return shades(len(panel.values))[panel.values.index(line.size[panel.axis])]


def _legend(axes: Axes, panel: Panel) -> None:
    from matplotlib.lines import Line2D

    pairs = zip(panel.values, shades(len(panel.values)), strict=True)
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=2.2, label=str(value))
        for value, colour in pairs
    ]
    size_legend(axes, handles, panel.axis)


def _key(figure: Figure, panels: Sequence[Panel], columns: int) -> None:
    """Explain the marks that are drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = [line for panel in panels for line in panel.lines]
    key: list[Any] = []
    marked = [panel for panel in panels if any(line.optimum for line in panel.lines)]
    if paths := [panel for panel in marked if _is_path(panel)]:
        mark = {**_BAR, **DOT, "markerfacecolor": FAINT}
        key.append(Line2D([], [], label="optimum, 95% interval", **mark))
        key.append(Line2D([], [], label="its drift", **DRIFT))
    if marked and not paths:
        mark = {**DOT, "markerfacecolor": FAINT, "linestyle": "none"}
        key.append(Line2D([], [], label="optimum", **mark))
    if any(len(line.losses) > 1 for line in lines):
        key.append(Patch(color=FAINT, alpha=0.25, linewidth=0, label="range over seeds"))
    if any(line.diverged.any() for line in lines):
        key.append(Line2D([], [], color=FAINT, label="diverged", **_CROSS))
    if key:
        figure.legend(handles=key, loc="outside lower center", ncols=columns, handlelength=2.6)
