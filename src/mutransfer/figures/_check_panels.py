"""The panels of a coordinate check: one module along one axis each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import CoordinateCheck, Slope, Spot, series
from ._canvas import ACCENT, FAINT, INK, THEORY, loss_ticks, minus, shades
from ._text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[int, float]]
"""Sizes and the change at each."""

MOST_PANELS = 12

_MOST_STEPS = 6
"""Steps that are drawn with a dot at each size; of more, only the last is."""

_TITLE_ROOM = 120.0
"""Room of a title in points."""

_LEAST_DECADES, _MOST_DECADES = 1.0, 3.0
_MARGIN, _HEADROOM, _SIDES = 0.08, 0.24, 0.1
"""Shares of a panel's extent that stay free below, above and at the sides."""

_LIGHTEST = 0.3
_TICKS_APART = 0.16
"""Least distance of two named ticks, as a share of the axis."""

_WRONG_GROUND = "#fdf1ea"

SEED: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.0,
    "markeredgewidth": 0,
    "linestyle": "none",
    "alpha": 0.45,
}
"""The mark of a single network."""

_TITLE: dict[str, Any] = {"size": 8.5, "weight": "bold"}
_LABELS = {"fail": (ACCENT, "bold", " wrong"), "undecided": (FAINT, "normal", " undecided")}
_ABOVE: dict[str, Any] = {
    "xycoords": "axes fraction",
    "textcoords": "offset points",
    "parse_math": False,
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One module along one axis.

    Attributes:
        slope: Its slope after the last step, with the verdict.
        spot: The module's place in the residual network.
        steps: The change at each size after each step, the geometric mean over seeds.
        seeds: The change of each network after the last step.
        reference: The ends of the line that has the expected exponent.
    """

    slope: Slope
    spot: str
    steps: dict[int, Points]
    seeds: Points
    reference: list[tuple[float, float]]

    @property
    def decades(self) -> tuple[float, float]:
        """Lowest and highest value that is drawn, as powers of ten."""
        means = (point for points in self.steps.values() for point in points)
        points = [*means, *self.seeds, *self.reference]
        values = np.log10([value for _, value in points] or [1.0])
        return float(values.min()), float(values.max())


def check_panels(check: CoordinateCheck, axis: str) -> list[Panel]:
    """Return the panels of one axis, as `check_figure` chooses them."""
    return list(panels(check, axis, shown(check, axis, judged(check, axis))))


def judged(check: CoordinateCheck, axis: str) -> list[Slope]:
    """Return the judged changes of modules, in the order of the forward pass."""
    return [
        slope
        for slope in check.slopes
        if (slope.axis, slope.kind, slope.quantity) == (axis, "module", "change") and slope.verdict
    ]


def shown(check: CoordinateCheck, axis: str, slopes: Sequence[Slope]) -> list[Slope]:
    """Return the failing modules, and as many others as there is room for.

    Others are spread over the forward pass. First come modules with another failing quantity, then
    undecided ones; a module that repeats the one before it comes last.
    """
    faulty = {
        slope.name
        for slope in check.slopes
        if (slope.axis, slope.kind, slope.verdict) == (axis, "module", "fail")
    }
    before = zip(slopes, [None, *slopes], strict=False)
    ranks = [_rank(slope, previous, faulty) for slope, previous in before]
    chosen: list[int] = []
    for rank in sorted(set(ranks)):
        candidates = [i for i, other in enumerate(ranks) if other == rank]
        room = min(MOST_PANELS - len(chosen), len(candidates))
        spread = np.linspace(0, len(candidates) - 1, room).round().astype(int)
        chosen += [candidates[place] for place in (range(room) if rank == 0 else spread)]
    return [slopes[i] for i in sorted(chosen)]


def _rank(slope: Slope, before: Slope | None, faulty: Collection[str]) -> int:
    if slope.verdict == "fail":
        return 0
    if slope.name in faulty:
        return 1
    if slope.verdict == "undecided":
        return 2
    return 4 if before is not None and replace(slope, name=before.name) == before else 3


def panels(check: CoordinateCheck, axis: str, chosen: Sequence[Slope]) -> Iterator[Panel]:
    """Yield the panel of each of these modules."""
    # `series` goes through all rows for every module: these are the only ones that are drawn.
    rows = tuple(row for row in check.rows if (row.kind, row.quantity) == ("module", "change"))
    changes = replace(check, rows=rows)
    seeds = _seeds(changes, axis) if check.seeds > 1 else {}
    ends = _ends(check.axes[axis])
    for slope in chosen:
        steps = {
            step: _finite(points)
            for step, points in sorted(changes.series(slope.name, "change", axis))
            if step
        }
        yield Panel(
            slope=slope,
            spot=check.spots.get(slope.name.partition("#")[0], Spot.UNKNOWN),
            steps=steps,
            seeds=_finite(seeds.get(slope.name, [])),
            reference=_reference(steps.get(slope.step, []), ends, slope.expected or 0.0),
        )


def _seeds(check: CoordinateCheck, axis: str) -> dict[str, Points]:
    """Return the change of each network after the last step, by module.

    The other axis is at its smallest size.
    """
    index = ("width", "depth").index(axis)
    smallest = [sizes[0] for other, sizes in check.axes.items() if other != axis]
    rows = [
        row
        for row in check.rows
        if row.step == check.steps and (row.rule != "sp" or check.rule == "sp")
    ]
    return {
        name: [
            (size[index], value)
            for size, value in values.items()
            if not smallest or size[1 - index] == smallest[0]
        ]
        for (_, name, _, _), values in series(rows).items()
    }


def _finite(points: Points) -> Points:
    return [(size, value) for size, value in points if 0 < value < math.inf]


def _reference(
    points: Points, ends: tuple[float, float], expected: float
) -> list[tuple[float, float]]:
    """Return the ends of the expected line through the points' geometric mean."""
    if not points:
        return []
    x, y = np.log(points).mean(axis=0)
    return [(size, math.exp(y + expected * (math.log(size) - x))) for size in ends]


def _ends(sizes: Sequence[int]) -> tuple[float, float]:
    """Return the limits of the axis of sizes."""
    room = (sizes[-1] / sizes[0]) ** _SIDES
    return sizes[0] / room, sizes[-1] * room


def span(panels: Sequence[Panel]) -> float:
    """Return the decades that every panel spans, so that equal slopes look equal.

    A panel that needs far more has a span of its own.
    """
    needed = [high - low for low, high in (panel.decades for panel in panels)]
    return min(max([_LEAST_DECADES, *needed]), _MOST_DECADES)


def draw_panel(
    axes: Axes, panel: Panel, sizes: Sequence[int], colours: Sequence[str], span: float
) -> None:
    """Draw one panel.

    Args:
        axes: The axes to draw on.
        panel: The panel.
        sizes: All sizes along its axis.
        colours: A colour for each step.
        span: Decades that the panels of the group span.
    """
    axes.set_yscale("log")
    axes.set_ylim(_limits(panel, span))
    loss_ticks(axes)
    _size_ticks(axes, sizes)
    for step, points in panel.steps.items():
        if points:
            # The lines of many steps, each with dots, would hide one another.
            thin = len(colours) > _MOST_STEPS and step < len(colours)
            mark = {"marker": "" if thin else "o", "linewidth": 0.8 if thin else 1.4}
            style: dict[str, Any] = {"markersize": 2.6, "zorder": 3 + step / len(colours), **mark}
            colour = colours[step - 1]
            axes.plot(*zip(*points, strict=True), color=colour, label=f"step {step}", **style)
    if panel.seeds:
        seeds = zip(*panel.seeds, strict=True)
        axes.plot(*seeds, color=colours[-1], zorder=2.5, label="_seeds", **SEED)
    if panel.reference:
        axes.plot(*zip(*panel.reference, strict=True), zorder=2.8, label="_reference", **THEORY)
    _write(axes, panel)


def _limits(panel: Panel, span: float) -> tuple[float, float]:
    """Return limits that centre the panel's lines, with room for its exponent above."""
    low, high = panel.decades
    span = max(span, high - low)
    start = (low + high - span) / 2
    return float(10 ** (start - _MARGIN * span)), float(10 ** (start + span * (1 + _HEADROOM)))


def _size_ticks(axes: Axes, sizes: Sequence[int]) -> None:
    """Put a tick at every size, named from the largest down where there is room."""
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


def _write(axes: Axes, panel: Panel) -> None:
    """Write name and spot above the panel, and the exponent in its corner."""
    slope = panel.slope
    colour, weight, verdict = _LABELS.get(slope.verdict, (INK, "normal", ""))
    expected = f"expected {slope.expected:g}" if slope.expected else ""
    parts = [part for part in (panel.spot, expected) if part and part != Spot.UNKNOWN]
    name = shortened(slope.name or "(output)", _TITLE_ROOM, **_TITLE)
    axes.annotate(name, (0, 1), (0, 13), **_TITLE, **_ABOVE)
    axes.annotate(minus(", ".join(parts)), (0, 1), (0, 4), fontsize=7, color=FAINT, **_ABOVE)
    exponent = minus(f"{slope.slope:+.2f} ± {slope.high - slope.slope:.2f}{verdict}")
    font: dict[str, Any] = {"fontsize": 8, "color": colour, "fontweight": weight}
    axes.annotate(exponent, (0, 1), (5, -4), va="top", **font, **_ABOVE)
    if slope.verdict == "fail":
        axes.set_facecolor(_WRONG_GROUND)


def colours(count: int) -> list[str]:
    """Return the colours of the steps: light for early ones, dark for late ones."""
    return shades(count, _LIGHTEST)
