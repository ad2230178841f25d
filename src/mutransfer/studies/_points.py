"""Points of one size: their mean losses, and the lines through the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..statistics import filled
from ._store import Row

Values = tuple[Any, ...]
"""Values of the swept hyperparameters, in order."""

_LINE = 3
"""Fewest values along a hyperparameter that show its optimum."""


def point_means(
    rows: Sequence[Row], names: Sequence[str], loss_of: Callable[[Row], float], *, fill: bool
) -> dict[Values, float]:
    """Return the mean loss of every point.

    Args:
        rows: Runs of one rule and size.
        names: The swept hyperparameters.
        loss_of: Returns the loss of a row.
        fill: True to fill missing seeds, so that points with few of them are not best by luck.
    """
    losses: dict[Values, dict[int, float]] = {}
    for row in rows:
        losses.setdefault(tuple(map(row.get, names)), {})[row["seed"]] = loss_of(row)
    if not fill or not losses:
        return {point: float(np.mean(list(each.values()))) for point, each in losses.items()}
    seeds = sorted({seed for each in losses.values() for seed in each})
    table = [[each.get(seed, math.nan) for each in losses.values()] for seed in seeds]
    return dict(zip(losses, map(float, filled(np.array(table)).mean(0)), strict=True))


def lowest_on_lines(
    means: Mapping[Values, float], names: Sequence[str], over: str
) -> dict[str, Any] | None:
    """Return the lowest point of the lines along a hyperparameter; None without any.

    A search that goes along one hyperparameter after the other ends at a point through which lines
    in all directions go; a lucky point next to it has none.
    """
    position = list(names).index(over)
    lines: dict[Values, list[Values]] = {}
    for point in means:
        lines.setdefault(point[:position] + point[position + 1 :], []).append(point)
    on_lines = [point for line in lines.values() if len(line) >= _LINE for point in line]
    lowest = min(sorted(on_lines, key=str), key=lambda point: means[point], default=None)
    return None if lowest is None else dict(zip(names, lowest, strict=True))
