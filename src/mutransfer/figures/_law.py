"""The law figure: the optimum of each size, the law through them, and the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..certificates import Transfers, distance_text, unit
from ..core import MEMORY, MutransferError
from ._beta_axis import axis_label, set_beta_ticks
from ._canvas import (
    ACCENT,
    DOT,
    FAINT,
    INK,
    TITLE,
    drawing,
    lay_out,
    note,
    power_of_two,
    shades,
    size_legend,
)
from ._law_panels import LawPanel, law_panels
from ._panels import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.3, 2.6)
"""Width and height of a panel, in inches."""

_SIDE = 0.06
"""Share of an axis that stays free at either end."""

_DODGE = 0.3
"""Share of the smallest gap over which optima of one size are spread."""

_MOST_TICKS = 7
_MOST_SHADES = 6
"""Shades that the legend names; of more, every second, third ... is named."""

_MANY = 20
"""Optima from which on marks are small."""

_BAND: dict[str, Any] = {"color": ACCENT, "alpha": 0.13, "linewidth": 0}
_LAW: dict[str, Any] = {"color": ACCENT, "linewidth": 1.0, "linestyle": (0, (4, 2))}
_TARGET: dict[str, Any] = {
    "color": ACCENT,
    "marker": "D",
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
    "linewidth": 2.2,
    "solid_capstyle": "butt",
}

_VERDICTS = {
    "within": "within 0.1",
    "beyond": "beyond 0.1",
    "cannot tell": "cannot tell",
}


def law_figure(found: Transfers | Sequence[Section]) -> Figure:
    """Draw the optimum of every size, the law across them, and the target.

    Every axis that varies is a row, every rule a column. A dot is the optimum of a size with its
    95% interval, shaded by another axis where one varies; the dashed line is the average of laws
    through the target, with its 95% band; the diamond is the optimum that is predicted there. Rules
    that are refused show the optima that were found.

    Args:
        found: The outcomes of `mutransfer.transfer`, or sections.

    Raises:
        MutransferError: no axis varies, or matplotlib is missing.
    """
    panels = law_panels(found)
    if not panels:
        raise MutransferError("there is no law to draw: the record has one size, or choices alone")
    with drawing():
        from matplotlib.figure import Figure

        rows = list(dict.fromkeys(panel.row for panel in panels))
        rules = list(dict.fromkeys(panel.rule for panel in panels))
        shape = (len(rows), len(rules))
        figure = Figure(figsize=(1.0 + shape[1] * _PANEL[0], 0.4 + shape[0] * _PANEL[1]))
        grid = figure.add_gridspec(*shape)
        for panel in panels:
            row = [each for each in panels if each.row == panel.row]
            axes = figure.add_subplot(grid[rows.index(panel.row), rules.index(panel.rule)])
            _draw_panel(axes, panel, row, first=panel is row[0])
            several = len({each.section for each in panels}) > 1
            title = f"{panel.section}: {panel.rule}" if several else panel.rule
            axes.set_title(title, pad=16, **TITLE)
            if panel is row[-1]:
                _legend(axes, row)
        _key(figure, panels, columns=2 if shape[1] == 1 else 4)
        lay_out(figure)
    return figure


def _draw_panel(axes: Axes, panel: LawPanel, row: Sequence[LawPanel], *, first: bool) -> None:
    _frame(axes, panel, row, first)
    if panel.band:
        values = [value for value, _ in panel.band]
        low, high = ([getattr(place, end) for _, place in panel.band] for end in ("low", "high"))
        axes.fill_between(values, low, high, label="_band", **_BAND)
        axes.plot(values, [place.value for _, place in panel.band], label="_law", **_LAW)
    _draw_optima(axes, panel, row)
    if panel.place is not None and panel.band:
        x, place = panel.at[panel.axis], panel.place
        style = {**_TARGET, "marker": ""}
        axes.plot([x, x], [place.low, place.high], label="_interval of the target", **style)
        axes.plot([x], [place.value], linestyle="none", zorder=6, label="_target", **_dot(_TARGET))
    note(axes, _finding(panel))
    if not panel.optima:
        axes.text(0.5, 0.5, "no optimum is known", transform=axes.transAxes, ha="center", color=INK)


def _dot(style: dict[str, Any]) -> dict[str, Any]:
    """Return a style without its line."""
    return {name: value for name, value in style.items() if name.startswith(("marker", "color"))}


def _finding(panel: LawPanel) -> str:
    if panel.refused:
        return "refused: the optima that were found"
    if panel.drift is None:
        return ""
    moved = f"{distance_text(panel.drift, panel.scale)} {unit(panel.scale, panel.over)}"
    # The unit of a beta is long, and a panel of its own no wider.
    per = "" if panel.scale == MEMORY else " per doubling"
    return f"{moved}{per}: {_VERDICTS[panel.verdict]}"


def _draw_optima(axes: Axes, panel: LawPanel, row: Sequence[LawPanel]) -> None:
    colours = _colours(row)
    many = len(panel.optima) > _MANY
    bar: dict[str, Any] = {"linewidth": 0.8 if many else 1.4, "alpha": 0.6 if many else 1.0}
    dot: dict[str, Any] = {**DOT, **({"markersize": 3.5, "markeredgewidth": 0.4} if many else {})}
    for best, x in zip(panel.optima, _spread(panel), strict=True):
        colour = colours[best.size[_shade(row)]]
        # An interval that is a range of equally good values is dotted.
        line = {"linestyle": ":" if best.status == "flat" else "-", "color": colour, **bar}
        axes.plot([x, x], [best.low, best.high], zorder=3, label="_interval", **line)
        style: dict[str, Any] = {"linestyle": "none", "color": colour, "zorder": 5, **dot}
        axes.plot([x], [best.position], label="_optimum", **style)


def _spread(panel: LawPanel) -> Iterator[float]:
    """Yield the abscissa of each optimum: those of one size side by side."""
    values = [best.size[panel.axis] for best in panel.optima]
    gap = min(np.diff(np.log2(sorted(set(values)))), default=1.0)
    for number, value in enumerate(values):
        count = values.count(value)
        rank = values[:number].count(value)
        offset = (rank / (count - 1) - 0.5) if count > 1 else 0.0
        yield value * 2 ** (_DODGE * gap * offset)


def _shade(row: Sequence[LawPanel]) -> str:
    """Return the axis that colours of a row tell apart, another if one varies."""
    return next((panel.shade for panel in row if panel.shade != panel.axis), row[0].axis)


def _colours(row: Sequence[LawPanel]) -> dict[float, str]:
    shade = _shade(row)
    values = sorted({best.size[shade] for panel in row for best in panel.optima})
    return dict(zip(values, shades(len(values)), strict=True))


def _frame(axes: Axes, panel: LawPanel, row: Sequence[LawPanel], first: bool) -> None:
    """Set the scales, which the panels of a row share."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    values = sorted({x for each in row for x in _sizes(each)})
    # Optima of the outermost sizes stand beside their tick, so that they set the limits.
    abscissas = [*values, *(x for each in row for x in _spread(each))]
    low, high = np.log2(min(abscissas)), np.log2(max(abscissas))
    side = _SIDE * (high - low) or 0.5
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (low - side), 2 ** (high + side))
    ticks = list(_thinned(values, (high - low) / _MOST_TICKS))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([size_text(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(panel.axis)
    places = [end for each in row for end in _ends(each)] or [0.0, 1.0]
    margin = _SIDE * (max(places) - min(places)) or 0.5
    axes.set_ylim(min(places) - margin, max(places) + margin)
    axes.set_ylabel(f"best {axis_label(panel.over, panel.scale)}" if first else "")
    axes.tick_params(labelleft=first)
    if panel.scale == "log2":
        _powers(axes, max(places) - min(places))
    if panel.scale == MEMORY:
        set_beta_ticks(axes.yaxis, *axes.get_ylim(), _MOST_TICKS)


def _powers(axes: Axes, span: float) -> None:
    """Label places as powers of two."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    step = next(step for step in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if span <= step * _MOST_TICKS)
    axes.yaxis.set_major_locator(MultipleLocator(step))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda place, _: power_of_two(place)))


def _sizes(panel: LawPanel) -> Iterator[float]:
    yield from (best.size[panel.axis] for best in panel.optima)
    yield panel.at[panel.axis]


def _ends(panel: LawPanel) -> Iterator[float]:
    for best in panel.optima:
        yield from (best.low, best.high)
    for place in (*(place for _, place in panel.band), *([panel.place] if panel.place else [])):
        yield from (place.low, place.high)


def _thinned(values: Sequence[float], gap: float) -> Iterator[float]:
    """Yield the last value, and downwards those that leave room for their labels."""
    last = np.inf
    for value in reversed(values):
        if np.log2(last) - np.log2(value) >= gap:
            last = value
            yield value


def size_text(size: float) -> str:
    """Return a size as a short text.

    >>> size_text(8192), size_text(214663680), size_text(2e9), size_text(1e11)
    ('8192', '215M', '2G', '100G')
    """
    for factor, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= factor:
            return f"{size / factor:.3g}{name}"
    return f"{size:g}" if size < 1e5 else f"{size / 1e3:.3g}k"


def _legend(axes: Axes, row: Sequence[LawPanel]) -> None:
    """Name the shades, where the abscissa does not."""
    from matplotlib.lines import Line2D

    if (shade := _shade(row)) == row[0].axis:
        return
    pairs = list(_colours(row).items())
    # Counted from the end, so that the largest is named.
    named = pairs[:: -(len(pairs) // _MOST_SHADES + 1)][::-1]
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none"}
    handles = [Line2D([], [], color=each, label=size_text(x), **style) for x, each in named]
    size_legend(axes, handles, shade)


def _key(figure: Figure, panels: Sequence[LawPanel], columns: int) -> None:
    """Explain the marks that are drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    key: list[Any] = []
    if any(panel.optima for panel in panels):
        mark = {**DOT, "color": FAINT}
        key.append(Line2D([], [], label="optimum of a size, 95% interval", **mark))
    if any(panel.band for panel in panels):
        key.append(Line2D([], [], label="average of laws", **_LAW))
        key.append(Patch(label="its 95% band", **_BAND))
    if any(panel.place is not None and panel.band for panel in panels):
        key.append(Line2D([], [], label="target, 95% interval", **_TARGET))
    if key:
        figure.legend(handles=key, loc="outside lower center", ncols=columns, handlelength=2.6)
