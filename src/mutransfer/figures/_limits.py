"""The figures of the limits: landscapes, and what finite networks miss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import MutransferError
from ._canvas import ACCENT, FAINT, INK, drawing, lay_out, loss_ticks, shades
from ._landscape import Curve, Landscape, scaling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._finite_size import FiniteSize

_PANEL = (3.5, 2.9)
_HOPELESS_SHARE = 2.0
"""Losses up to this many times the highest loss at the lowest value are drawn."""

_LEAST_SHARE = 0.01
"""Share of an interval's upper end from which on its lower end is drawn, on a logarithmic scale."""

_DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
    "linestyle": "none",
}
_FINITE: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 3.6,
    "markerfacecolor": "none",
    "markeredgewidth": 0.9,
    "elinewidth": 0.9,
}
_MARKERS = "sD^v<>"
_DRIFT: dict[str, Any] = {"color": ACCENT, "linewidth": 1.0, "linestyle": (0, (4, 2))}
_THEORY: dict[str, Any] = {"color": FAINT, "linewidth": 1.1, "linestyle": (0, (4, 2))}


def landscape_figure(landscapes: Sequence[Landscape]) -> Figure:
    """Loss over a hyperparameter, a panel for each landscape, on common scales.

    Lines are the limit of infinite width, darker with depth, infinite depth in black; dots their optima; open marks finite networks.

    Raises:
        MutransferError: there are none, or matplotlib is missing.
    """
    if not landscapes:
        raise MutransferError("the figure has no panels: give at least one landscape")
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.2 + len(landscapes) * _PANEL[0], 0.75 + _PANEL[1]))
        grid = figure.add_gridspec(1, len(landscapes))
        limits, style = _loss_limits(landscapes), _Style.of(landscapes)
        for column, each in enumerate(landscapes):
            axes = figure.add_subplot(grid[column])
            _draw_landscape(axes, each, limits, style, first=not column)
        _landscape_key(figure, axes, style)
        lay_out(figure)
    return figure


@dataclass(frozen=True)
class _Style:
    """What all panels share: a colour for each depth, from light to dark, and a marker for each finite width."""

    colours: dict[float, str]
    markers: dict[float, str]

    @classmethod
    def of(cls, landscapes: Sequence[Landscape]) -> _Style:
        curves = [curve for each in landscapes for curve in each.curves]
        depths = sorted({float(curve.depth) for curve in curves})
        finite = [depth for depth in depths if not math.isinf(depth)]
        colours = dict(zip(finite, shades(len(finite)), strict=True)) | (
            {math.inf: INK} if depths[-1] == math.inf else {}
        )
        widths = sorted({curve.width for curve in curves if not math.isinf(curve.width)})
        return cls(colours, {width: _MARKERS[i % len(_MARKERS)] for i, width in enumerate(widths)})


def _loss_limits(landscapes: Sequence[Landscape]) -> tuple[float, float]:
    """Limits that hold all losses but those far above what the lowest values reach."""
    curves = [
        curve.losses[np.isfinite(curve.losses)] for each in landscapes for curve in each.curves
    ]
    found = np.concatenate(curves)
    if not len(found):
        raise MutransferError("every value diverged at every depth: give smaller ones")
    high = min(found.max(), _HOPELESS_SHARE * max(curve[0] for curve in curves if len(curve)))
    if not (found > 0).any():
        raise MutransferError("every loss is 0: there is nothing to draw")
    return float(found[found > 0].min()) / 1.15, float(max(high, found[found > 0].min())) * 1.15


def _draw_landscape(
    axes: Axes, landscape: Landscape, limits: tuple[float, float], style: _Style, *, first: bool
) -> None:
    scale = "log" if landscape.logarithmic else "linear"
    axes.set_xscale(scale, **({"base": 2} if landscape.logarithmic else {}))
    axes.set_yscale("log")
    axes.set_ylim(limits)
    axes.set_xlabel("learning rate" if landscape.over == "lr" else landscape.over.replace("_", " "))
    axes.set_ylabel(
        f"{'final' if landscape.metric == 'final' else 'mean'} training loss" if first else ""
    )
    axes.tick_params(labelleft=first)
    loss_ticks(axes)
    infinite = [curve for curve in landscape.curves if math.isinf(curve.width)]
    for curve in landscape.curves:
        colour, shown = (
            style.colours[curve.depth],
            np.where(np.isfinite(curve.losses), curve.losses, np.nan),
        )
        if math.isinf(curve.width):
            axes.plot(landscape.values, shown, color=colour, zorder=2)
            axes.fill_between(
                landscape.values,
                shown - curve.errors,
                shown + curve.errors,
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
        else:
            axes.errorbar(
                landscape.values,
                shown,
                curve.errors,
                color=colour,
                marker=style.markers[curve.width],
                zorder=3,
                **_FINITE,
            )
    path = [
        (curve.optimum, _height(landscape, curve))
        for curve in infinite
        if curve.optimum is not None
    ]
    for curve in infinite:
        if curve.optimum is not None:
            axes.plot(
                curve.optimum,
                _height(landscape, curve),
                color=style.colours[curve.depth],
                zorder=5,
                **_DOT,
            )
    if len(path) > 1:
        axes.plot(*zip(*path, strict=True), zorder=4, **_DRIFT)
    axes.set_title(scaling(landscape.problem), loc="left", fontsize=9.5, fontweight="bold", pad=16)
    axes.annotate(
        _moved(landscape),
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7.5,
        color=FAINT,
    )


def _moved(landscape: Landscape) -> str:
    infinite = [curve for curve in landscape.curves if math.isinf(curve.width)]
    if len(infinite) < 2:
        return ""
    try:
        moved = landscape.drift()
    except MutransferError:
        return "an optimum lies beyond the values"
    unit = " octaves" if landscape.logarithmic else ""
    return f"optimum moves {moved:+.2f}{unit}, depth {_name(infinite[0].depth)} to {_name(infinite[-1].depth)}".replace(
        "-", "\N{MINUS SIGN}"
    )


def _height(landscape: Landscape, curve: Curve) -> float:
    finite = np.isfinite(curve.losses)
    values = np.log2(landscape.values) if landscape.logarithmic else landscape.values
    assert curve.optimum is not None
    at = math.log2(curve.optimum) if landscape.logarithmic else curve.optimum
    return float(np.exp(np.interp(at, values[finite], np.log(curve.losses[finite]))))


def _name(size: float) -> str:
    return "∞" if math.isinf(size) else f"{size:g}"


def _landscape_key(figure: Figure, axes: Axes, style: _Style) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, label=_name(depth)) for depth, colour in style.colours.items()
    ]
    axes.legend(
        handles=handles,
        title="depth",
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
    )
    key = [
        Line2D([], [], color=INK, label="infinite width"),
        Line2D([], [], color=FAINT, label="its optimum", **_DOT),
    ]
    if any(line.get_linestyle() == "--" for each in figure.axes for line in each.lines):
        key.append(Line2D([], [], label="its drift", **_DRIFT))
    marks = {name: value for name, value in _FINITE.items() if name != "elinewidth"}
    key += [
        Line2D([], [], color=FAINT, marker=marker, label=f"width {width:g}", **marks)
        for width, marker in style.markers.items()
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=4, handlelength=2.2)


def finite_size_figure(found: FiniteSize) -> Figure:
    """Errors over size on logarithmic scales, a panel for each law, beside a line of theory's power.

    Raises:
        MutransferError: matplotlib is missing.
    """
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        laws = list(found.laws.values())
        figure = Figure(figsize=(0.6 + len(laws) * 2.7, 2.9))
        grid = figure.add_gridspec(1, len(laws))
        for column, law in enumerate(laws):
            axes = figure.add_subplot(grid[column])
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            told = [
                (size, error)
                for size, error in zip(law.sizes, law.errors, strict=True)
                if error > 0
            ]
            reach = np.array([law.sizes[0] / 1.3, law.sizes[-1] * 1.3])
            if law.constant:
                axes.plot(reach, law.constant * reach**-law.power, **_THEORY)
            if law.high:
                low = max(law.low, _LEAST_SHARE * law.high)
                axes.fill_between(
                    reach,
                    low * reach**-law.power,
                    law.high * reach**-law.power,
                    color=FAINT,
                    alpha=0.15,
                    linewidth=0,
                )
            if told:
                axes.plot(*zip(*told, strict=True), color=INK, **_DOT)
            loss_ticks(axes)
            axes.set_xticks(law.sizes, [str(size) for size in law.sizes])
            axes.minorticks_off()
            axes.set_xlabel(law.axis)
            axes.set_ylabel(f"rms error of {found.of}" if not column else "")
            axes.set_title(law.name, loc="left", fontsize=9.5, fontweight="bold", pad=16)
            text = (
                f"fitted power {law.fitted}".replace("-", "\N{MINUS SIGN}")
                if law.fitted
                else "not told from noise"
            )
            axes.annotate(
                text,
                (0, 1),
                (0, 5),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=7.5,
                color=FAINT,
            )
        key = [
            Line2D([], [], color=INK, label="measured", **_DOT),
            Line2D([], [], label="theory's power, fitted constant", **_THEORY),
        ]
        figure.legend(handles=key, loc="outside lower center", ncols=2, handlelength=2.4)
        lay_out(figure)
    return figure
