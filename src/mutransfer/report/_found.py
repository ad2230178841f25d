"""Findings as data of the page: laws, regrets, surfaces, coordinate checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..certificates import Surface, Transfer, distance_text, scale_along, surface, unit
from ..checks import CoordinateCheck, Slope
from ..core import Estimate, MutransferError, Size
from ..figures import LawPanel, Section, check_panels, law_panels
from ._data import short

_MOST_SURFACES = 24
"""Surfaces of a page, those of the largest sizes; each takes about 20 ms to fit."""

_LEVELS, _CORNERS = 8, 72
"""Lines of equal loss around an optimum, and points of each."""

_ELLIPSE = 5.991
"""The 95% quantile of chi squared with two degrees of freedom."""

_VERDICTS = {"within": "within 0.1", "beyond": "beyond 0.1", "cannot tell": "not sure"}


def laws_data(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Return the law of each hyperparameter and rule along each axis."""
    over = {section.title: section.transfers.over for section in sections}
    return [_law(panel) | {"over": over[panel.section]} for panel in law_panels(sections)]


def _law(panel: LawPanel) -> dict[str, Any]:
    drift = panel.drift
    return {
        "rule": panel.rule,
        "axis": panel.axis,
        "band": [[short(size), *_ends(place)] for size, place in panel.band],
        "drift": "" if drift is None else _drift(drift, panel),
        "target": None if panel.place is None else _target(panel, panel.place),
    }


def _drift(drift: Estimate, panel: LawPanel) -> str:
    moved = f"{distance_text(drift, panel.scale)} {unit(panel.scale, panel.over)}"
    return f"{moved} per doubling of {panel.axis}, {_VERDICTS[panel.verdict]}"


def _target(panel: LawPanel, place: Estimate) -> dict[str, Any]:
    return {"x": panel.at[panel.axis], "place": _ends(place), "text": str(panel.at)}


def _ends(estimate: Estimate) -> list[float | None]:
    return [short(each) for each in (estimate.value, estimate.low, estimate.high)]


def regrets_data(sections: Sequence[Section], sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """Return the regret at the largest size of tuning at each smaller one."""
    place = {size: number for number, size in enumerate(sizes)}
    return [
        {
            "over": section.transfers.over,
            "rule": granted.rule,
            "target": place[granted.proxies.target],
            "rows": [[place[size], *_ends(regret)] for size, regret in _regrets(granted)],
        }
        for section in sections
        for granted in section.transfers.granted
        if granted.proxies.sizes
    ]


def _regrets(granted: Transfer) -> Iterator[tuple[Size, Estimate]]:
    return zip(granted.proxies.sizes, granted.proxies.regrets, strict=True)


def surfaces(sections: Sequence[Section]) -> list[Surface]:
    """Return the surface of every two hyperparameters that were swept together.

    Those of the largest sizes where they are many.
    """
    runs = sections[0].runs
    names = [each for each in runs.hyperparameters if scale_along(runs, each) != "choice"]
    sizes = sorted({size for rule in runs.rules for size in runs.sizes(rule)}, reverse=True)
    found: list[Surface] = []
    for size in sizes:
        for rule in runs.rules:
            for pair in combinations(names, 2):
                if len(found) == _MOST_SURFACES:
                    return found
                try:
                    found.append(surface(runs, rule, size, pair))
                except MutransferError:
                    continue
    return found


def surface_data(found: Surface, sizes: Sequence[Size]) -> dict[str, Any]:
    """Return runs, optimum and contours of a surface."""
    best = [place.value for place in found.optimum]
    return {
        "rule": found.rule,
        "size": list(sizes).index(found.size),
        "over": list(found.over),
        "scales": list(found.scales),
        "status": found.status,
        "points": [[short(x), short(y), short(loss)] for x, y, loss in found.points],
        "optimum": [short(each) for each in best],
        "contours": _contours(found, np.array(best)),
        "region": _ring(np.array(best), np.array(found.spread), _ELLIPSE),
        "text": found.ridge_text,
    }


def _contours(found: Surface, best: Any) -> list[Any]:
    """Return lines of equal loss, each of twice the excess of the one before."""
    hessian = np.array(found.hessian)
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return []
    away = np.array(found.points)[:, :2] - best
    top = float((np.einsum("pi,ij,pj->p", away, hessian, away) / 2).max())
    spread = np.linalg.inv(hessian)
    rings = (_ring(best, spread, 2 * top * 2.0**-level) for level in range(_LEVELS))
    return [ring for ring in rings if ring]


def _ring(middle: Any, spread: Any, size: float) -> list[list[float | None]]:
    """Return the points at this squared distance, in units of the spread."""
    if not np.isfinite(spread).all():
        return []
    values, vectors = np.linalg.eigh(spread)
    angles = np.linspace(0, 2 * np.pi, _CORNERS + 1)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    ring = middle[:, None] + vectors @ (np.sqrt(np.maximum(values, 0) * size)[:, None] * circle)
    return [[short(x, 5), short(y, 5)] for x, y in ring.T]


def remarks(check: CoordinateCheck) -> list[str]:
    """Return what is wrong with a check, and why it is undecided."""
    return [*(f"wrong: {finding}" for finding in check.findings), *check.notes]


def check_data(check: CoordinateCheck) -> dict[str, Any]:
    """Return the modules of a coordinate check, as its figure shows them."""
    return {
        "rule": check.rule,
        "verdict": check.verdict,
        "remarks": remarks(check),
        "panels": [
            {
                "axis": axis,
                "name": panel.slope.name or "(output)",
                "verdict": panel.slope.verdict,
                "slope": _slope(panel.slope),
                "expected": panel.slope.expected or 0.0,
                "steps": [[step, _points(points)] for step, points in panel.steps.items()],
                "reference": _points(panel.reference),
            }
            for axis in check.axes
            for panel in check_panels(check, axis)
        ],
    }


def _slope(slope: Slope) -> str:
    return str(Estimate(value=slope.slope, low=slope.low, high=slope.high))


def _points(points: Sequence[tuple[float, float]]) -> list[list[float | None]]:
    return [[short(size), short(value, 4)] for size, value in points]


def tables_data(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return tables as columns and rows, by the name of their file."""
    tables = []
    for name, each in rows.items():
        columns = list(dict.fromkeys(column for row in each for column in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in each]
        tables.append({"file": name, "columns": columns, "rows": cells})
    return [table for table in tables if table["rows"]]


def _cell(value: Any) -> Any:
    return short(value) if isinstance(value, float) else value
