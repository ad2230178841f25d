"""The transfer plot: loss against learning rate, a line for each size, with the optimum that should not move."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..core import MutransferError
from ._canvas import ACCENT, FAINT, drawing, lay_out, loss_ticks, shades
from ..report._section import Array, Line, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.3, 2.75)
_ROOM = 0.06
_LOG_FROM = 3.0
_MOST_TICKS = 8
_LONGEST_TITLE = 38

_BAR: dict[str, Any] = {"color": ACCENT, "linewidth": 2.2, "solid_capstyle": "butt"}
_DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}
_DRIFT: dict[str, Any] = {"color": ACCENT, "linewidth": 1.0, "linestyle": (0, (4, 2))}
_CROSS: dict[str, Any] = {
    "marker": "x",
    "markersize": 3.4,
    "markeredgewidth": 1.1,
    "linestyle": "none",
}


def transfer_figure(panels: Sequence[Panel], *, narrow: bool = False) -> Figure:
    """Mean training loss against learning rate: a row for each study, a column for each rule, a line for each size.

    A dot marks each optimum, a bar its 95% interval, a dashed line their drift. The strip above a panel has a row for each size with a
    cross at every rate where seeds diverged, faint where only some did.

    Args:
        panels: As `mutransfer.report.panels` makes them.
        narrow: All panels in one column, for small screens.

    Raises:
        MutransferError: there are no panels, or matplotlib is missing.
    """
    if not panels:
        raise MutransferError("the figure has no panels: give at least one section with runs")
    with drawing():
        from matplotlib.figure import Figure

        places = list(_places(panels, narrow))
        rows, columns = (1 + max(place[i] for place in places) for i in (0, 1))
        figure = Figure(figsize=(1.0 + columns * _PANEL[0], 0.4 + rows * _PANEL[1]))
        grid = figure.add_gridspec(rows, columns)
        frames = {
            name: _frame([panel for panel in panels if panel.section == name])
            for name in {panel.section for panel in panels}
        }
        for panel, place in zip(panels, places, strict=True):
            beside = [column for row, column in places if row == place[0]]
            axes = figure.add_subplot(grid[place])
            _draw(
                axes,
                panel,
                frames[panel.section],
                title=_title(panel, several=len(frames) > 1),
                first=place[1] == min(beside),
            )
            if place[1] == max(beside):
                _legend(axes, panel)
        _key(figure, panels, columns=4 if columns > 1 else 2)
        lay_out(figure)
    return figure


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What the panels of one section share, so that they can be compared."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    strip: bool


def _places(panels: Sequence[Panel], narrow: bool) -> Iterator[tuple[int, int]]:
    """Row and column of each panel."""
    rows, rules = (
        list(dict.fromkeys(names))
        for names in ([panel.row for panel in panels], [panel.rule for panel in panels])
    )
    for number, panel in enumerate(panels):
        yield (number, 0) if narrow else (rows.index(panel.row), rules.index(panel.rule))


def _frame(panels: Sequence[Panel]) -> _Frame:
    """Limits that hold all losses, but for those far above what the lowest rates reach, which would flatten the rest."""
    lines = [line for panel in panels for line in panel.lines]
    rates = np.concatenate([line.log2_lr for line in lines])
    losses = np.concatenate([line.losses[:, np.isfinite(line.mean)].ravel() for line in lines])
    losses = losses[~np.isnan(losses)]
    low, high = (float(losses.min()), float(losses.max())) if len(losses) else (0.0, 1.0)
    starts = [line.mean[np.isfinite(line.mean)][:1] for line in lines]
    if low > 0:
        high = min(high, max(10 * low, 2 * float(np.concatenate(starts).max())))
    log = low > 0 and high > _LOG_FROM * low
    if log:
        margin = (high / low) ** _ROOM
        y = (low / margin, high * margin)
    else:
        margin = _ROOM * ((high - low) or abs(high) or 1.0)
        y = (low - margin, high + margin)
    return _Frame(
        x=(float(rates.min()) - 0.4, float(rates.max()) + 0.4),
        y=y,
        log=log,
        strip=any(line.diverged.any() for line in lines),
    )


def _draw(axes: Axes, panel: Panel, frame: _Frame, *, title: str, first: bool) -> None:
    axes.set_xlim(frame.x)
    axes.set_yscale("log" if frame.log else "linear")
    axes.set_ylim(frame.y)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("mean training loss" if first else "")
    axes.tick_params(labelleft=first)
    _rate_ticks(axes, frame)
    if frame.log:
        loss_ticks(axes)
    for rank, line in enumerate(panel.lines):
        _draw_line(axes, line, _colour(panel, line), zorder=2 + rank / 100)
    _draw_optima(axes, panel, frame)
    top = _draw_diverged(axes, panel, first) if frame.strip else axes
    top.set_title(_drift(panel), loc="left", fontsize=7.5, color=FAINT, pad=4)
    above: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "parse_math": False,
    }
    top.annotate(title, (0, 1), (0, 15), fontsize=9.5, fontweight="bold", **above)


def _draw_line(axes: Axes, line: Line, colour: str, zorder: float) -> None:
    mean, rates = line.mean, line.log2_lr
    finite = np.isfinite(mean)
    low, high = (
        np.where(finite, reduce(np.nan_to_num(line.losses, nan=empty), axis=0), np.nan)
        for reduce, empty in ((np.min, np.inf), (np.max, -np.inf))
    )
    axes.fill_between(rates, low, high, color=colour, alpha=0.18, linewidth=0, zorder=zorder - 1)
    name = str(line.size)
    axes.plot(
        rates,
        np.where(finite, mean, np.nan),
        color=colour,
        marker="o",
        markersize=2.2,
        zorder=zorder,
        label=name,
    )
    for here, there in _ways_out(mean):
        ends = [mean[here], axes.get_ylim()[1]]
        axes.plot(
            rates[[here, there]],
            ends,
            color=colour,
            linewidth=0.9,
            linestyle=(0, (1, 1.5)),
            zorder=zorder - 0.5,
            label="_out",
        )


def _draw_optima(axes: Axes, panel: Panel, frame: _Frame) -> None:
    """Each optimum as a dot on its line, with its interval; all joined by the drift."""
    path = []
    for line in panel.lines:
        if (best := line.optimum) is None:
            continue
        finite = np.isfinite(line.mean)
        losses = np.log(line.mean[finite]) if frame.log else line.mean[finite]
        height = float(np.interp(best.log2_lr, line.log2_lr[finite], losses))
        path.append((best.log2_lr, math.exp(height) if frame.log else height))
        axes.plot([best.low, best.high], [path[-1][1]] * 2, zorder=4, label="_interval", **_BAR)
        axes.plot(
            *path[-1],
            zorder=5,
            linestyle="none",
            color=_colour(panel, line),
            label="_optimum",
            **_DOT,
        )
    if path:
        axes.plot(*zip(*path, strict=True), zorder=3.5, label="_drift", **_DRIFT)


def _ways_out(mean: Float[Array, " rates"]) -> list[tuple[int, int]]:
    """Neighbours on the grid of which the first has a loss and the second diverged."""
    pairs = [(i, j) for i in range(len(mean)) for j in (i - 1, i + 1) if 0 <= j < len(mean)]
    return [(i, j) for i, j in pairs if np.isfinite(mean[i]) and np.isinf(mean[j])]


def _draw_diverged(axes: Axes, panel: Panel, first: bool) -> Axes:
    """The strip above the panel: a row for each size, a cross for each rate with diverged runs."""
    count = len(panel.values)
    strip = axes.inset_axes((0, 1.0, 1, 0.035 * (count + 1)), sharex=axes)
    strip.set_ylim(count, -1)
    strip.set_facecolor("#f4f4f4")
    strip.grid(False)
    strip.spines[:].set_visible(False)
    strip.set_yticks([(count - 1) / 2], ["diverged"], fontsize=7, color=FAINT)
    strip.tick_params(length=0, labelbottom=False, labelleft=first)
    for line in panel.lines:
        rank = panel.values.index(getattr(line.size, panel.axis))
        for alpha, chosen in (
            (0.4, (line.diverged > 0) & (line.diverged < 1)),
            (1.0, line.diverged == 1),
        ):
            rates = line.log2_lr[chosen]
            strip.plot(
                rates,
                np.full(len(rates), rank),
                color=_colour(panel, line),
                alpha=alpha,
                label="_diverged",
                **_CROSS,
            )
    return strip


def _title(panel: Panel, several: bool) -> str:
    room = max(10, _LONGEST_TITLE - len(panel.at) - len(panel.rule))
    name = textwrap.shorten(panel.section, room, placeholder="...") if several else ""
    place = ", ".join(part for part in (name, panel.at) if part)
    return f"{place}: {panel.rule}" if place else panel.rule


def _drift(panel: Panel) -> str:
    if panel.transfer is None:
        return "drift not known"
    drift = panel.transfer.drift.get(panel.axis)
    return (
        ""
        if drift is None
        else f"{drift} octaves per doubling of {panel.axis}".replace("-", "\N{MINUS SIGN}")
    )


def _rate_ticks(axes: Axes, frame: _Frame) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    step = 1
    while (frame.x[1] - frame.x[0]) / step > _MOST_TICKS:
        step *= 2
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$2^{{{power:g}}}$"))


def _colour(panel: Panel, line: Line) -> str:
    return shades(len(panel.values))[panel.values.index(getattr(line.size, panel.axis))]


def _legend(axes: Axes, panel: Panel) -> None:
    from matplotlib.lines import Line2D

    pairs = zip(panel.values, shades(len(panel.values)), strict=True)
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=2.2, label=str(value))
        for value, colour in pairs
    ]
    axes.legend(
        handles=handles,
        title=panel.axis,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
    )


def _key(figure: Figure, panels: Sequence[Panel], columns: int) -> None:
    """What the marks mean, for those that are drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = [line for panel in panels for line in panel.lines]
    key: list[Any] = []
    if any(line.optimum for line in lines):
        key.append(
            Line2D(
                [], [], label="optimum, 95% interval", **_BAR, **{**_DOT, "markerfacecolor": FAINT}
            )
        )
        key.append(Line2D([], [], label="its drift", **_DRIFT))
    if any(len(line.losses) > 1 for line in lines):
        key.append(Patch(color=FAINT, alpha=0.25, linewidth=0, label="range over seeds"))
    if any(line.diverged.any() for line in lines):
        key.append(Line2D([], [], color=FAINT, label="diverged", **_CROSS))
    if key:
        figure.legend(handles=key, loc="outside lower center", ncols=columns, handlelength=2.6)
