"""The charts of the page as Vega-Lite specifications.

They are data. A text that starts with "$" stands for what the reader chose, such as "$xTitle" for
the title of an axis: the page's script fills it in. Every chart has one table, "marks"; each layer
draws the rows of one kind.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
"""The fonts of the page."""

INK, FAINT, ACCENT, GROUND = "var(--ink)", "var(--faint)", "var(--accent)", "var(--ground)"
"""Colours of the style sheet, so that charts follow light, dark and paper."""

CONFIG: Spec = {
    "background": None,
    # The fonts of the style sheet: what is inherited cannot be measured.
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "titleFontSize": 13,
        "labelFontSize": 12,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": "var(--line)",
        "titlePadding": 8,
    },
    "aria": False,
}
"""The style of all charts."""

DIVERGED = "M-1,-1L1,1M-1,1L1,-1"
"""The cross of a run that diverged, as a path."""

_DASHED = [5, 3]
_DOT: Spec = {"size": 80, "opacity": 1, "stroke": GROUND, "strokeWidth": 1.5}
_CROSS: Spec = {"size": 30, "strokeWidth": 1.6}

_BRUSH: Spec = {
    "name": "brush",
    "select": {
        "type": "interval",
        # Fingers scroll the page; they zoom by the buttons.
        "on": "[pointerdown[event.pointerType !== 'touch'], window:pointerup] > window:pointermove",
        "translate": False,
        "zoom": False,
        "mark": {"fill": ACCENT, "fillOpacity": 0.12, "stroke": ACCENT},
    },
}


def charts() -> dict[str, Spec]:
    """Return every specification by the name of its chart."""
    return {
        "transfer": transfer(),
        "curves": curves(),
        "law": law(),
        "regret": regret(),
        "surface": surface(),
        "check": check(),
    }


def transfer() -> Spec:
    """Return loss against a hyperparameter: a line for each size of one rule."""
    color = _field("color", scale=None)
    band = {"y": _y("low"), "y2": _field("high"), "color": color}
    bar = {"x": _x("low"), "x2": _field("high")}
    top = {
        "y": {"value": {"expr": "datum.top"}},
        "shape": _field("mark", scale=None),
        "opacity": _field("share", scale=None, type="quantitative"),
    }
    return _chart(
        _layer("line", "area", band, opacity=0.16),
        _layer("out", "line", {"color": color, "detail": _field("way")}, strokeDash=[1, 3]),
        _layer("line", "line", {"color": color, "detail": _field("size")}, strokeWidth=2),
        _layer("run", "circle", {"color": color}, size=22, opacity=0.5),
        _layer("point", "circle", {"color": color}, size=34, opacity=1),
        _layer("optimum", "rule", bar, color=ACCENT, strokeWidth=3.5),
        _layer("path", "line", {"order": _field("order")}, color=ACCENT, strokeDash=_DASHED),
        _layer("optimum", "circle", {"color": color}, **_DOT),
        _layer("early", "point", {"color": color, **top}, clip=False, **_CROSS),
        _layer("cursor", "point", {}, size=240, color=ACCENT, strokeWidth=2),
        brush=True,
    )


def curves() -> Spec:
    """Return loss against step: a line for each run."""
    color = _field("color", scale=None)
    return _chart(
        _layer("curve", "line", {"color": color, "detail": _field("name")}, strokeWidth=1.8),
        _layer("end", "point", {"color": color}, shape="cross", angle=45, size=60, clip=False),
    )


def law() -> Spec:
    """Return the best value against size, with the law through it."""
    color, bar = _field("color", scale=None), {"y": _y("low"), "y2": _field("high")}
    return _chart(
        _layer("band", "area", bar, color=FAINT, opacity=0.2),
        _layer("band", "line", {}, color=ACCENT, strokeDash=_DASHED),
        _layer("optimum", "rule", {**bar, "color": color}, strokeWidth=2),
        _layer("optimum", "circle", {"color": color}, **_DOT),
        _layer("target", "rule", bar, color=ACCENT, strokeWidth=2),
        _layer("target", "point", {}, shape="diamond", filled=True, size=110, color=ACCENT),
    )


def regret() -> Spec:
    """Return the regret at the largest size of tuning at each smaller one."""
    color, bar = _field("color", scale=None), {"y": _y("low"), "y2": _field("high")}
    return _chart(
        _layer("regret", "line", {"color": color, "detail": _field("rule")}, strokeWidth=1.5),
        _layer("regret", "rule", {**bar, "color": color}, strokeWidth=2),
        _layer("regret", "circle", {"color": color}, **_DOT),
        _layer("beyond", "point", {"color": color}, clip=False, shape="triangle-up", **_CROSS),
    )


def surface() -> Spec:
    """Return the runs over two hyperparameters, with lines of equal loss."""
    way = {"detail": _field("way"), "order": _field("order")}
    return _chart(
        _layer("contour", "line", way, color=FAINT, strokeWidth=1, opacity=0.8),
        _layer("run", "circle", {"color": _field("color", scale=None)}, size=70, opacity=1),
        _layer("diverged", "point", {}, shape=DIVERGED, color=ACCENT, **_CROSS),
        _layer("region", "line", way, color=ACCENT, strokeWidth=2.2),
        _layer("optimum", "circle", {}, color=INK, **_DOT),
    )


def check() -> Spec:
    """Return the change of one module against size, and what is expected."""
    color = _field("color", scale=None)
    return _chart(
        _layer("expected", "line", {}, color=FAINT, strokeDash=_DASHED),
        _layer("change", "line", {"color": color, "detail": _field("step")}, strokeWidth=1.5),
        _layer("change", "circle", {"color": color}, size=30, opacity=1),
    )


def _chart(*layers: Spec, brush: bool = False) -> Spec:
    """Return the layers on the axes that the script sets."""
    # The brush belongs to a layer that draws nothing, as its layer takes the pointer.
    brushed = [{**_layer("none", "point", {}), "params": [_BRUSH]}] if brush else []
    return {
        "width": "$width",
        "height": "$height",
        "padding": "$padding",
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "marks"},
        "encoding": {"x": _x("x"), "y": _y("y")},
        "layer": [*brushed, *layers],
    }


def _layer(kind: str, mark: str, encoding: Spec, **style: Any) -> Spec:
    """Return a layer of the rows of one kind."""
    own = {"invalid": "break-paths-filter-domains"} if mark in ("line", "area") else {}
    return {
        "transform": [{"filter": f"datum.kind === '{kind}'"}],
        "mark": {"type": mark, "clip": True, **own, **style},
        "encoding": encoding,
    }


def _field(name: str, **more: Any) -> Spec:
    return {"field": name, **({"type": "nominal"} if "scale" in more else {}), **more}


def _x(field: str) -> Spec:
    return _axis("x", field)


def _y(field: str) -> Spec:
    return _axis("y", field)


def _axis(channel: str, field: str) -> Spec:
    """Return the encoding of a place; scale and ticks are the script's."""
    return {
        "field": field,
        "type": "quantitative",
        "title": f"${channel}Title",
        "scale": {"nice": False, "type": f"${channel}Scale", "domain": f"${channel}Domain"},
        "axis": {
            "values": f"${channel}Ticks",
            "labelExpr": f"${channel}Labels",
            "grid": channel == "y",
            "labelOverlap": True,
            "tickMinStep": f"${channel}Step",
        },
    }
