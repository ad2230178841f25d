"""The figure of a coordinate check: small multiples by module, size across, one line a step."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import ACCENT, FAINT, INK, drawing, lay_out, loss_ticks
from ..checks._expected import Spot
from ..checks._slopes import Slope, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    from ..checks import CoordinateCheck

Points = list[tuple[int, float]]
"""Sizes and the change at each."""

_PANEL = (2.15, 1.95)
_HEADING, _HEADING_GAP = 0.3, 20.0
_FEWEST_COLUMNS, _MOST_COLUMNS = 3, 6
_MOST_PANELS = 12
_MOST_STEPS = 6
_MOST_NAMES = 3
_TITLE_ROOM = 120.0
_LEAST_DECADES, _MOST_DECADES = 1.0, 3.0
_MARGIN, _HEADROOM, _SIDES = 0.08, 0.24, 0.1
_LIGHTEST = 0.3
_TICKS_APART = 0.16
_WRONG_GROUND = "#fdf1ea"

_REFERENCE: dict[str, Any] = {"color": FAINT, "linewidth": 1.1, "linestyle": (0, (4, 2))}
_SEED: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.0,
    "markeredgewidth": 0,
    "linestyle": "none",
    "alpha": 0.45,
}
_TITLE: dict[str, Any] = {"size": 8.5, "weight": "bold"}
_LABELS = {"fail": (ACCENT, "bold", " wrong"), "undecided": (FAINT, "normal", " undecided")}


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """One module in one axis: the change after each step, and of each seed after the last."""

    slope: Slope
    spot: str
    steps: dict[int, Points]
    seeds: Points
    reference: list[tuple[float, float]]

    @property
    def decades(self) -> tuple[float, float]:
        """Lowest and highest of what is drawn, as powers of ten."""
        points = [
            *(point for own in self.steps.values() for point in own),
            *self.seeds,
            *self.reference,
        ]
        values = np.log10([value for _, value in points] or [1.0])
        return float(values.min()), float(values.max())


def figure(check: CoordinateCheck) -> Figure:
    """See `CoordinateCheck.figure`."""
    with drawing():
        from matplotlib.figure import Figure

        groups = {axis: _judged(check, axis) for axis in check.axes}
        columns = _columns([min(len(found), _MOST_PANELS) for found in groups.values()])
        heights: list[float] = [_HEADING]
        for found in groups.values():
            heights += [_HEADING, *[_PANEL[1]] * math.ceil(min(len(found), _MOST_PANELS) / columns)]
        drawn = Figure(figsize=(0.4 + columns * _PANEL[0], 0.4 + sum(heights)))
        grid = drawn.add_gridspec(len(heights), columns, height_ratios=heights)
        colour = (
            ACCENT if check.verdict == "fail" else FAINT if check.verdict == "undecided" else INK
        )
        _heading(
            drawn,
            grid,
            0,
            f"Coordinate check of {check.rule}: {check.verdict}",
            _about(check),
            size=11.5,
            color=colour,
        )
        row = 1
        for axis, found in groups.items():
            row = _group(drawn, grid, row, check, axis, found)
        _key(drawn, check, lines=1 if columns > _FEWEST_COLUMNS else 2)
        lay_out(drawn)
    return drawn


def _judged(check: CoordinateCheck, axis: str) -> list[Slope]:
    """The changes of modules on which there is a verdict, in the order of the forward pass."""
    return [
        each
        for each in check.slopes
        if (each.axis, each.kind, each.quantity) == (axis, "module", "change") and each.verdict
    ]


def _columns(counts: Iterable[int]) -> int:
    """Columns that leave few places empty."""
    most = max(counts)
    return max(
        _FEWEST_COLUMNS,
        most if most <= _MOST_COLUMNS else math.ceil(most / math.ceil(most / _MOST_COLUMNS)),
    )


def _shown(found: Sequence[Slope], faulty: Collection[str]) -> list[Slope]:
    """Those that fail first, and of the others as many as there is room for, spread over the forward pass.

    Before others come modules of which something else is wrong, and undecided ones; what repeats the module before it comes last.
    """
    ranks = [
        _rank(each, before, faulty) for each, before in zip(found, [None, *found], strict=False)
    ]
    chosen: list[int] = []
    for rank in sorted(set(ranks)):
        own = [i for i, each in enumerate(ranks) if each == rank]
        room = min(_MOST_PANELS - len(chosen), len(own))
        places = (
            range(room) if rank == 0 else np.linspace(0, len(own) - 1, room).round().astype(int)
        )
        chosen += [own[place] for place in places]
    return [found[i] for i in sorted(chosen)]


def _rank(slope: Slope, before: Slope | None, faulty: Collection[str]) -> int:
    if slope.verdict == "fail":
        return 0
    if slope.name in faulty:
        return 1
    if slope.verdict == "undecided":
        return 2
    return 4 if before is not None and replace(slope, name=before.name) == before else 3


def _group(
    drawn: Figure,
    grid: GridSpec,
    row: int,
    check: CoordinateCheck,
    axis: str,
    found: Sequence[Slope],
) -> int:
    """Heading and panels of one axis; the first row that is left free."""
    faulty = {
        each.name
        for each in check.slopes
        if (each.axis, each.kind, each.verdict) == (axis, "module", "fail")
    }
    shown = _shown(found, faulty)
    title = f"{axis.capitalize()}: change of each module's output since initialisation"
    _heading(drawn, grid, row, title, _caption(check, axis, found, shown), size=10)
    panels = list(_panels(check, axis, shown))
    columns, colours, span = grid.ncols, _colours(check.steps), _span(panels)
    for number, panel in enumerate(panels):
        axes = drawn.add_subplot(grid[row + 1 + number // columns, number % columns])
        _draw(axes, panel, check.axes[axis], colours, span)
        axes.set_ylabel("RMS of the change" if number % columns == 0 else "")
        axes.set_xlabel(axis if number // columns == (len(panels) - 1) // columns else "")
    return row + 1 + math.ceil(len(panels) / columns)


def _panels(check: CoordinateCheck, axis: str, shown: Sequence[Slope]) -> Iterator[_Panel]:
    changes = replace(
        check,
        rows=tuple(row for row in check.rows if (row.kind, row.quantity) == ("module", "change")),
    )
    seeds = _seeds(changes, axis)
    for slope in shown:
        steps = {
            step: _finite(points)
            for step, points in sorted(changes.series(slope.name, "change", axis))
            if step
        }
        yield _Panel(
            slope=slope,
            spot=check.spots.get(slope.name.partition("#")[0], Spot.UNKNOWN),
            steps=steps,
            seeds=_finite(seeds.get(slope.name, [])) if check.seeds > 1 else [],
            reference=_reference(
                steps.get(slope.step, []), _ends(check.axes[axis]), slope.expected or 0.0
            ),
        )


def _seeds(check: CoordinateCheck, axis: str) -> dict[str, Points]:
    """The change in every single network after the last step, by module, the other axis at its smallest."""
    index = ("width", "depth").index(axis)
    others = [sizes[0] for each, sizes in check.axes.items() if each != axis]
    own = [
        row
        for row in check.rows
        if row.step == check.steps and (row.rule != "sp" or check.rule == "sp")
    ]
    return {
        name: [
            (size[index], value)
            for size, value in values.items()
            if not others or size[1 - index] == others[0]
        ]
        for (_, name, _, _), values in series(own).items()
    }


def _finite(points: Points) -> Points:
    return [(size, value) for size, value in points if 0 < value < math.inf]


def _reference(
    points: Points, ends: tuple[float, float], expected: float
) -> list[tuple[float, float]]:
    """The expected power of the size, through the geometric mean of the points, from end to end."""
    if not points:
        return []
    x, y = np.log(points).mean(axis=0)
    return [(size, math.exp(y + expected * (math.log(size) - x))) for size in ends]


def _ends(sizes: Sequence[int]) -> tuple[float, float]:
    """Where the axis of sizes starts and ends."""
    room = (sizes[-1] / sizes[0]) ** _SIDES
    return sizes[0] / room, sizes[-1] * room


def _span(panels: Sequence[_Panel]) -> float:
    """Decades that every panel spans, so that equal slopes look equal; a panel that needs far more has its own."""
    needed = [high - low for low, high in (panel.decades for panel in panels)]
    return min(max([_LEAST_DECADES, *needed]), _MOST_DECADES)


def _draw(
    axes: Axes, panel: _Panel, sizes: Sequence[int], colours: Sequence[str], span: float
) -> None:
    axes.set_yscale("log")
    axes.set_ylim(_limits(panel, span))
    loss_ticks(axes)
    _size_ticks(axes, sizes)
    for step, points in panel.steps.items():
        if points:
            style: dict[str, Any] = {
                "color": colours[step - 1],
                "zorder": 3 + step / len(colours),
                "label": f"step {step}",
            }
            plain = len(colours) > _MOST_STEPS and step < len(colours)
            axes.plot(
                *zip(*points, strict=True),
                marker="" if plain else "o",
                markersize=2.6,
                linewidth=0.8 if plain else 1.4,
                **style,
            )
    if panel.seeds:
        axes.plot(
            *zip(*panel.seeds, strict=True), color=colours[-1], zorder=2.5, label="_seeds", **_SEED
        )
    if panel.reference:
        axes.plot(*zip(*panel.reference, strict=True), zorder=2.8, label="_reference", **_REFERENCE)
    _say(axes, panel)


def _limits(panel: _Panel, span: float) -> tuple[float, float]:
    """The panel's own lines in the middle, with room for its exponent above."""
    low, high = panel.decades
    span = max(span, high - low)
    start = (low + high - span) / 2
    return float(10 ** (start - _MARGIN * span)), float(10 ** (start + span * (1 + _HEADROOM)))


def _size_ticks(axes: Axes, sizes: Sequence[int]) -> None:
    """A tick at every measured size; named from the largest down, where there is room."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    octaves = math.log2(sizes[-1] / sizes[0])
    names: list[str] = []
    named = math.inf
    for size in reversed(sizes):
        place = math.log2(size / sizes[0]) / octaves
        roomy = named - place >= _TICKS_APART
        names.insert(0, str(size) if roomy else "")
        named = place if roomy else named
    axes.set_xscale("log", base=2)
    axes.set_xlim(_ends(sizes))
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FixedFormatter(names))
    axes.xaxis.set_minor_locator(NullLocator())


def _say(axes: Axes, panel: _Panel) -> None:
    """Name and spot above the panel, the exponent in its corner."""
    slope = panel.slope
    colour, weight, verdict = _LABELS.get(slope.verdict, (INK, "normal", ""))
    expected = f"expected {slope.expected:g}" if slope.expected else ""
    beneath = _minus(
        ", ".join(part for part in (panel.spot, expected) if part and part != Spot.UNKNOWN)
    )
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "parse_math": False,
    }
    axes.annotate(
        _short(slope.name or "(output)", _TITLE_ROOM, **_TITLE), (0, 1), (0, 13), **_TITLE, **style
    )
    axes.annotate(beneath, (0, 1), (0, 4), fontsize=7, color=FAINT, **style)
    text = _minus(f"{slope.slope:+.2f} ± {slope.high - slope.slope:.2f}{verdict}")
    axes.annotate(
        text, (0, 1), (5, -4), va="top", fontsize=8, color=colour, fontweight=weight, **style
    )
    if slope.verdict == "fail":
        axes.set_facecolor(_WRONG_GROUND)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _short(text: str, room: float, **font: Any) -> str:
    """The text, without its middle where it is wider than the room, in points."""
    short, kept = text, len(text)
    while kept and _width(short, **font) > room:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short


def _width(text: str, **font: Any) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return float(TextToPath().get_text_width_height_descent(text, FontProperties(**font), False)[0])


def _about(check: CoordinateCheck) -> str:
    names = list(dict.fromkeys(each.name or "the whole network" for each in check.findings))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    wrong = f"; wrong: {', '.join(names[:_MOST_NAMES])}{more}" if names else ""
    return f"{_several(check.steps, 'step')}, {_several(check.seeds, 'seed')}{wrong}"


def _caption(
    check: CoordinateCheck, axis: str, found: Sequence[Slope], shown: Sequence[Slope]
) -> str:
    parts = [f"at {each} {sizes[0]}" for each, sizes in check.axes.items() if each != axis]
    if missing := len(found) - len(shown):
        wrong = sum(each.verdict == "fail" for each in found) - sum(
            each.verdict == "fail" for each in shown
        )
        parts.append(
            f"{_several(missing, 'module')} not shown"
            + (f", {wrong} of them wrong" if wrong else "")
        )
    if not found:
        parts.append("none could be judged")
    return "; ".join(parts)


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _heading(
    drawn: Figure,
    grid: GridSpec,
    row: int,
    title: str,
    about: str,
    *,
    size: float,
    color: str = INK,
) -> None:
    """A line of text over all columns, the second part of it faint."""
    axes = drawn.add_subplot(grid[row, :])
    axes.set_axis_off()
    style: dict[str, Any] = {"parse_math": False, "annotation_clip": False, "va": "bottom"}
    font: dict[str, Any] = {"size": size, "weight": "bold"}
    room = 72 * _PANEL[0] * grid.ncols - _HEADING_GAP
    title = _short(title, room, **font)
    first = axes.annotate(title, (0, 0), xycoords="axes fraction", color=color, **font, **style)
    about = _short(about, room - _width(title, **font) - _HEADING_GAP, size=8)
    second = axes.annotate(
        about,
        (1, 0),
        (9, 0),
        xycoords=first,
        textcoords="offset points",
        size=8,
        color=FAINT,
        **style,
    )
    for text in (first, second):
        text.set_in_layout(False)


def _key(drawn: Figure, check: CoordinateCheck, lines: int) -> None:
    """What the lines mean: steps from light to dark, the dashed line, the dots."""
    from matplotlib.lines import Line2D

    named = sorted(
        {round(float(step)) for step in np.linspace(1, check.steps, min(check.steps, _MOST_STEPS))}
    )
    colours = _colours(check.steps)
    key = [
        Line2D([], [], color=colours[step - 1], marker="o", markersize=2.6, label=f"step {step}")
        for step in named
    ]
    if check.seeds > 1:
        key.append(Line2D([], [], color=colours[-1], label="single seeds, last step", **_SEED))
    key.append(Line2D([], [], label="expected exponent", **_REFERENCE))
    drawn.legend(
        handles=key,
        loc="outside lower center",
        ncols=math.ceil(len(key) / lines),
        handlelength=2.2,
        columnspacing=1.5,
    )


def _colours(count: int) -> list[str]:
    """Light for early steps, dark for late ones."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [
        to_hex(colormaps["YlGnBu"](share))
        for share in np.linspace(_LIGHTEST if count > 1 else 1.0, 1.0, count)
    ]
