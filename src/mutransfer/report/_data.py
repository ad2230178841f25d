"""Data of the page: runs in columns, their curves, optima by every metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from ..certificates import Optimum, Refusal, Transfer, metric_name, optimum, placed, scale_along
from ..core import MutransferError, Size, varying
from ..figures import Section, axis_label
from ..statistics import Array, Indices
from ..studies import Runs, steps_of

_POINTS = 60_000
"""Points of all curves together, so that a page of many runs stays small."""

_MOST_POINTS, _FEWEST_POINTS = 60, 12
"""Points of a curve."""


def record_data(sections: Sequence[Section]) -> dict[str, Any]:
    """Return one record as data: the sections are those of its hyperparameters."""
    runs = sections[0].runs
    metrics = list(_metrics(runs))
    sizes = sizes_of(runs)
    return {
        "title": sections[0].title,
        "rules": runs.rules,
        "axes": varying(sizes),
        "sizes": [[size[axis] for axis in runs.axes] for size in sizes],
        "sizeAxes": list(runs.axes),
        "hyperparameters": [_hyperparameter(section) for section in sections],
        "metrics": [{"name": each.metric, "label": metric_name(each)} for each in metrics],
        "metric": runs.metric,
        "columns": _columns(runs, sizes, metrics),
        "lines": {each.transfers.over: _lines(each, metrics) for each in sections},
        "optima": [row for each in sections for row in _optima(each, sizes, metrics)],
        "curves": curves_data(runs),
    }


def sizes_of(runs: Runs) -> list[Size]:
    """Return every size of a record, from small to large."""
    return sorted({size for rule in runs.rules for size in runs.sizes(rule)})


def short(value: float | None, digits: int = 6) -> float | None:
    """Return a number of a few digits; None where it is not finite.

    >>> short(2 / 3), short(math.inf), short(1e-9 / 3, 3)
    (0.666667, None, 3.33e-10)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _metrics(runs: Runs) -> Iterator[Runs]:
    """Yield the record by each metric that all its runs have, its own first."""
    yield runs
    for name in runs.metrics:
        if name == runs.metric:
            continue
        try:
            yield runs.with_metric(name)
        except MutransferError:
            continue


def _hyperparameter(section: Section) -> dict[str, Any]:
    over = section.transfers.over
    scale = scale_along(section.runs, over)
    values = {row[over] for row in section.runs.rows if row.get(over) is not None}
    return {
        "name": over,
        "label": "learning rate" if over == "lr" else over.replace("_", " "),
        "axisLabel": axis_label(over, scale),
        "scale": scale,
        "axis": section.axis,
        "choices": sorted(map(str, values)) if scale == "choice" else [],
    }


def _columns(runs: Runs, sizes: Sequence[Size], metrics: Sequence[Runs]) -> dict[str, Any]:
    """Return the runs column by column; texts and sizes as numbers of a list."""
    rows, place = runs.rows, {size: number for number, size in enumerate(sizes)}
    rules = {rule: number for number, rule in enumerate(runs.rules)}
    columns: dict[str, Any] = {
        "rule": [rules[row["rule"]] for row in rows],
        "size": [place[runs.size_of(row)] for row in rows],
        "seed": [row["seed"] for row in rows],
        "status": _coded([_status(runs, row) for row in rows]),
    }
    for name in runs.hyperparameters:
        columns[f"at {name}"] = _coded([_value(row.get(name)) for row in rows])
    for each in metrics:
        losses = [short(each.loss_of(row)) for row in rows]
        columns[f"by {each.metric}"] = losses
    if any(row.get("message") for row in rows):
        columns["message"] = _coded([str(row.get("message") or "") for row in rows])
    return columns


def _status(runs: Runs, row: dict[str, Any]) -> str:
    known = row.get("status")
    return known or ("diverged" if math.isinf(runs.loss_of(row)) else "finished")


def _value(value: Any) -> Any:
    """Return a number as it is, so that powers of two stay exact, and others as text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return str(value)


def _coded(values: Sequence[Any]) -> dict[str, Any]:
    """Return values as a list of the different ones, and the number of each."""
    names = list(dict.fromkeys(values))
    numbers = {name: number for number, name in enumerate(names)}
    return {"names": names, "codes": [numbers[value] for value in values]}


def _lines(section: Section, metrics: Sequence[Runs]) -> dict[str, list[int] | None]:
    """Return the runs in which one hyperparameter alone differs, for each metric.

    It is None where these are all runs.
    """
    over, rows = section.transfers.over, section.runs.rows
    if len(section.runs.hyperparameters) == 1:
        return {each.metric: None for each in metrics}
    place = {id(row): number for number, row in enumerate(rows)}
    return {
        each.metric: [
            place[id(row)]
            for rule in each.rules
            for size in each.sizes(rule)
            for row in _with_failed(each, rule, size, over)
        ]
        for each in metrics
    }


def _with_failed(runs: Runs, rule: str, size: Size, over: str) -> list[Mapping[str, Any]]:
    """Return the runs of one line, and those that failed on it."""
    along: list[Mapping[str, Any]] = [*runs.along(rule, size, over)]
    others = [name for name in runs.hyperparameters if name != over]
    points = {tuple(row.get(name) for name in others) for row in along}
    failed = (row for row in runs.rows if row.get("status") == "failed" and row["rule"] == rule)
    return along + [
        row
        for row in failed
        if runs.size_of(row) == size
        and (not along or tuple(row.get(name) for name in others) in points)
    ]


def _optima(
    section: Section, sizes: Sequence[Size], metrics: Sequence[Runs]
) -> Iterator[dict[str, Any]]:
    """Yield the optimum of every rule and size, by the record's metric and by others."""
    over, place = section.transfers.over, {size: number for number, size in enumerate(sizes)}
    for runs in metrics:
        for rule in runs.rules:
            for best in _best(section, runs, rule):
                yield {
                    "over": over,
                    "metric": runs.metric,
                    "rule": rule,
                    "size": place[best["size"]],
                    **{name: short(best[name]) for name in ("place", "low", "high")},
                }


def _best(section: Section, runs: Runs, rule: str) -> Iterator[dict[str, Any]]:
    over = section.transfers.over
    scale = scale_along(runs, over)
    if scale == "choice":
        return
    # The certificate has found those of its own metric.
    outcome = dict(section.transfers).get(rule) if runs is section.runs else None
    optima: Iterable[Optimum] = _found(runs, rule, over, scale)
    if isinstance(outcome, Transfer | Refusal):
        optima = outcome.optima
    for best in optima:
        yield {"size": best.size, "place": best.position, "low": best.low, "high": best.high}


def _found(runs: Runs, rule: str, over: str, scale: str) -> Iterator[Optimum]:
    for size in runs.sizes(rule):
        try:
            values, losses = placed(*runs.losses(rule, size, over), scale)
            yield optimum(rule, size, values, losses, over=over, scale=scale)[0]
        except MutransferError:
            continue


def curves_data(runs: Runs) -> dict[str, Any] | None:
    """Return the loss curve of every run, thinned to means of equal stretches.

    Curves of the same steps share them: "of" is the place of each run's steps in "steps".
    """
    if not any(row.get("curve") for row in runs.rows):
        return None
    most = min(_MOST_POINTS, max(_FEWEST_POINTS, _POINTS // len(runs.rows)))
    steps: dict[tuple[Any, ...], int] = {}
    shown, places, losses = list[Any](), [], []
    for row in runs.rows:
        curve = row.get("curve") or []
        same = (len(curve), *(str(row.get(key)) for key in ("steps", "diverged_at", "reported_at")))
        if same not in steps:
            steps[same] = len(shown)
            at = thinned(steps_of(row) if curve else [], most)
            shown.append([short(step) for step in at.tolist()])
        places.append(steps[same])
        losses.append(_short(thinned(curve, most)))
    return {"steps": shown, "of": places, "losses": losses}


def _short(values: Float[Array, " values"], digits: int = 4) -> list[float | None]:
    """Return numbers as `short` does, five times as fast."""
    with np.errstate(divide="ignore"):
        power = digits - 1 - np.floor(np.log10(np.abs(values)))
    # Powers of ten are exact up to 1e22; other numbers, zero and NaN stay as they are.
    usual = np.abs(power) <= 22
    up, down = (10.0 ** np.where(usual, np.maximum(each, 0), 0) for each in (power, -power))
    rounded = np.where(usual, np.rint(values / down * up) / up * down, values)
    return [each if math.isfinite(each) else None for each in rounded.tolist()]


def thinned(curve: Sequence[float | None], most: int) -> Float[Array, " points"]:
    """Return a curve, or its steps, as means of at most so many stretches."""
    values = np.array(curve, dtype=np.float64)
    if len(values) <= most:
        return values
    edges, count = _stretches(len(values), most)
    means = np.add.reduceat(values, edges) / count
    # The first loss stands alone, as it is that of no training.
    means[0] = values[0]
    return np.asarray(means)


@cache
def _stretches(length: int, most: int) -> tuple[Indices, Indices]:
    """Return where the stretches of a curve begin, and how long they are."""
    edges = np.linspace(0, length, most + 1).astype(int)[:-1]
    return edges, np.diff([*edges, length])
