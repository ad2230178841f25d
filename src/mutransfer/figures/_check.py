"""The figure of a coordinate check: a panel for each module, a line for each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import CoordinateCheck, Slope
from ._canvas import ACCENT, FAINT, INK, THEORY, drawing, lay_out
from ._check_panels import SEED, Panel, colours, draw_panel, judged, panels, shown, span
from ._draw import draw
from ._text import shortened, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

_PANEL = (2.15, 1.95)
"""Width and height of a panel, in inches."""

_HEADING, _HEADING_GAP = 0.3, 20.0
"""Height of a heading in inches, and points between its two parts."""

_FEWEST_COLUMNS, _MOST_COLUMNS = 3, 6
_MOST_STEPS = 6
_MOST_NAMES = 3


def check_figure(check: CoordinateCheck) -> Figure:
    """Draw the change of each module's output against width and depth.

    Modules are small multiples, steps are lines from light to dark. The dashed line has the
    expected exponent.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure

        slopes = {axis: judged(check, axis) for axis in check.axes}
        groups = {axis: _group(check, axis, slopes[axis]) for axis in check.axes}
        columns = _columns([len(group.panels) for group in groups.values()])
        heights = [_HEADING]
        for group in groups.values():
            heights += [_HEADING, *[_PANEL[1]] * math.ceil(len(group.panels) / columns)]
        figure = Figure(figsize=(0.4 + columns * _PANEL[0], 0.4 + sum(heights)))
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        colour = {"fail": ACCENT, "undecided": FAINT}.get(check.verdict, INK)
        title = f"Coordinate check of {check.rule}: {check.verdict}"
        _heading(figure, grid, 0, title, _about(check), size=11.5, color=colour)
        row = 1
        for group in groups.values():
            row = _draw_group(figure, grid, row, check, group)
        _key(figure, check, lines=1 if columns > _FEWEST_COLUMNS else 2)
        lay_out(figure)
    return figure


@draw.register(CoordinateCheck)
def _(check: CoordinateCheck) -> Figure:
    return check_figure(check)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The panels of one axis, under their heading."""

    axis: str
    caption: str
    panels: tuple[Panel, ...]


def _group(check: CoordinateCheck, axis: str, slopes: Sequence[Slope]) -> _Group:
    chosen = shown(check, axis, slopes)
    caption = _caption(check, axis, slopes, chosen)
    return _Group(axis=axis, caption=caption, panels=tuple(panels(check, axis, chosen)))


def _columns(counts: Iterable[int]) -> int:
    """Return the number of columns that leaves few places empty."""
    most = max(counts)
    if most > _MOST_COLUMNS:
        most = math.ceil(most / math.ceil(most / _MOST_COLUMNS))
    return max(_FEWEST_COLUMNS, most)


def _draw_group(
    figure: Figure, grid: GridSpec, row: int, check: CoordinateCheck, group: _Group
) -> int:
    """Draw heading and panels of one axis, and return the first row that is left free."""
    title = f"{group.axis.capitalize()}: change of each module's output since initialisation"
    _heading(figure, grid, row, title, group.caption, size=10)
    columns, decades, last = grid.ncols, span(group.panels), len(group.panels) - 1
    for number, panel in enumerate(group.panels):
        below, across = divmod(number, columns)
        axes = figure.add_subplot(grid[row + 1 + below, across])
        draw_panel(axes, panel, check.axes[group.axis], colours(check.steps), decades)
        axes.set_ylabel("RMS of the change" if across == 0 else "")
        axes.set_xlabel(group.axis if below == last // columns else "")
    return row + 1 + math.ceil(len(group.panels) / columns)


def _about(check: CoordinateCheck) -> str:
    """Return the second part of the heading: what was trained, and what is not right."""
    wrong = [finding.name or "the whole network" for finding in check.findings]
    # Of a check that fails the undecided exponents are not the matter.
    unsure = [slope.subject for slope in check.slopes if slope.verdict == "undecided"]
    fault = _named("wrong", wrong) or _named("undecided", unsure)
    return f"{_several(check.steps, 'step')}, {_several(check.seeds, 'seed')}{fault}"


def _named(what: str, names: Iterable[str]) -> str:
    """Return the first of these names, after what they are."""
    own = list(dict.fromkeys(names))
    more = f" and {len(own) - _MOST_NAMES} more" if len(own) > _MOST_NAMES else ""
    return f"; {what}: {', '.join(own[:_MOST_NAMES])}{more}" if own else ""


def _caption(
    check: CoordinateCheck, axis: str, slopes: Sequence[Slope], chosen: Sequence[Slope]
) -> str:
    """Return the second part of an axis' heading: its place, and what is not shown."""
    parts = [f"at {other} {sizes[0]}" for other, sizes in check.axes.items() if other != axis]
    if missing := len(slopes) - len(chosen):
        wrong = _failing(slopes) - _failing(chosen)
        hidden = f", {wrong} of them wrong" if wrong else ""
        parts.append(f"{_several(missing, 'module')} not shown{hidden}")
    if not slopes:
        parts.append("none could be judged")
    return "; ".join(parts)


def _failing(slopes: Sequence[Slope]) -> int:
    return sum(slope.verdict == "fail" for slope in slopes)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _heading(
    figure: Figure,
    grid: GridSpec,
    row: int,
    title: str,
    about: str,
    *,
    size: float,
    color: str = INK,
) -> None:
    """Write a line of text over all columns, the second part of it faint."""
    axes = figure.add_subplot(grid[row, :])
    axes.set_axis_off()
    style: dict[str, Any] = {"parse_math": False, "annotation_clip": False, "va": "bottom"}
    font: dict[str, Any] = {"size": size, "weight": "bold"}
    room = 72 * _PANEL[0] * grid.ncols - _HEADING_GAP
    title = shortened(title, room, **font)
    first = axes.annotate(title, (0, 0), xycoords="axes fraction", color=color, **font, **style)
    about = shortened(about, room - text_width(title, **font) - _HEADING_GAP, size=8)
    place: dict[str, Any] = {"xycoords": first, "textcoords": "offset points"}
    second = axes.annotate(about, (1, 0), (9, 0), size=8, color=FAINT, **place, **style)
    # A long heading would squeeze the panels below it: the layout is made without it.
    for text in (first, second):
        text.set_in_layout(False)


def _key(figure: Figure, check: CoordinateCheck, lines: int) -> None:
    """Explain the lines: steps from light to dark, the dashed line, the dots."""
    from matplotlib.lines import Line2D

    places = np.linspace(1, check.steps, min(check.steps, _MOST_STEPS))
    shades = colours(check.steps)
    dot: dict[str, Any] = {"marker": "o", "markersize": 2.6}
    key = [
        Line2D([], [], color=shades[step - 1], label=f"step {step}", **dot)
        for step in sorted({round(float(place)) for place in places})
    ]
    if check.seeds > 1:
        key.append(Line2D([], [], color=shades[-1], label="single seeds, last step", **SEED))
    key.append(Line2D([], [], label="expected exponent", **THEORY))
    columns = math.ceil(len(key) / lines)
    style: dict[str, Any] = {"handlelength": 2.2, "columnspacing": 1.5}
    figure.legend(handles=key, loc="outside lower center", ncols=columns, **style)
