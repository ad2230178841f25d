"""Rates of a table of curves that are those of a schedule, and no settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from ._table_cells import Numbers

_FEWEST_STEPS = 5
"""Steps from which on rows of a run each, as many at every step, are steps of curves."""

_FEWEST_ALONE = 16
"""The same for one row at every step, if steps are evenly spaced: few last rows are so."""

_LATE = 1.5
"""Steps between two rows of a run by which its first may lie behind the first of all."""

_MOSTLY = 0.8
"""Share of rows that are a run each in a table whose every row may be one."""

_Curves = Mapping[Hashable, Sequence[tuple[float, float]]]
"""Steps and losses of each run, in their order, by its hyperparameters."""


def is_scheduled(
    groups: Sequence[Hashable],
    settings: Sequence[Hashable],
    steps: Numbers,
    losses: Numbers,
    rows: Sequence[int],
) -> bool:
    """Return True where the hyperparameters of a table of curves follow a schedule.

    Under a schedule, rows of one run have many rates. Taken for runs, they come one after the
    other: where one ends, the next begins. Runs that were resumed, logged at unequal steps, or
    ended early begin together, and what diverged goes on under no rate.

    Args:
        groups: The size, rule and seed of each row.
        settings: Its hyperparameters.
        steps: Its step.
        losses: Its loss.
        rows: The rows that count.
    """
    found: dict[Hashable, dict[Hashable, list[tuple[float, float]]]] = {}
    for row in rows:
        step, loss = steps[row], losses[row]
        if step is not None and math.isfinite(step):
            runs = found.setdefault(groups[row], {})
            runs.setdefault(settings[row], []).append((step, math.inf if loss is None else loss))
    curves = [{key: sorted(each) for key, each in runs.items()} for runs in found.values()]
    return sum(map(_follow_each_other, curves)) > len(curves) / 2


def _follow_each_other(curves: _Curves) -> bool:
    rows = sum(map(len, curves.values()))
    single = sum(len(points) == 1 for points in curves.values())
    return _is_grid(curves) if single > _MOSTLY * rows else _takes_over(curves)


def _is_grid(curves: _Curves) -> bool:
    """Return True where as many runs of one row stand at each of many steps.

    In a table of last rows, most stand at the last step.
    """
    found = sorted(Counter(step for points in curves.values() for step, _ in points).items())
    falls = all(later <= earlier for (_, earlier), (_, later) in pairwise(found))
    spaces = [later - earlier for (earlier, _), (later, _) in pairwise(found)]
    if not falls or len(found) < _FEWEST_STEPS:
        return False
    return found[0][1] > 1 or (len(found) >= _FEWEST_ALONE and min(spaces) == max(spaces))


def _takes_over(curves: _Curves) -> bool:
    """Return True where runs begin late, at a step before which as many have ended."""
    every = sorted({step for points in curves.values() for step, _ in points})
    begun = Counter(points[0][0] for points in curves.values() if _is_late(points, every[0]))
    ended = Counter(points[-1][0] for points in curves.values() if _has_learned(points))
    return any(0 < begun[later] <= ended[earlier] for earlier, later in pairwise(every))


def _is_late(points: Sequence[tuple[float, float]], first: float) -> bool:
    steps = [step for step, _ in points]
    spacing = median(b - a for a, b in pairwise(steps)) if len(steps) > 1 else 0.0
    return steps[0] - first > _LATE * spacing


def _has_learned(points: Sequence[tuple[float, float]]) -> bool:
    return math.isfinite(points[-1][1]) and points[-1][1] <= points[0][1]
