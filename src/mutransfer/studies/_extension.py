"""More rates where the best one lies at the edge of its grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ..core import MutransferError
from ..statistics import edge
from ._rules import rule_name
from ._run import Run
from ._runs import Runs
from ._study import Study
from ._values import as_recorded


def beyond(study: Study, runs: Runs, extend: int) -> list[Run]:
    """Return runs at more rates, for sizes and rules whose best rate is at an edge.

    Other hyperparameters stay where the rate is compared: at the centre, or at the best point.

    Args:
        study: The study.
        runs: Its finished runs.
        extend: How many rates may lie beyond either end of the study's grid.

    Returns:
        Runs at the next two rates, or as many as `extend` allows.
    """
    grid = study.swept["lr"]
    if not extend or not runs.rows:
        return []
    step = grid[1] / grid[0] if len(grid) > 1 else 2.0
    ladders = {
        "low": [grid[0] / step**i for i in range(extend + 1)],
        "high": [grid[-1] * step**i for i in range(extend + 1)],
    }
    added = []
    for size, rule in product(study.sizes(), map(rule_name, study.rules)):
        try:
            rates, losses = runs.losses(rule, size)
        except MutransferError:
            # Some of its runs failed, and are tried again by the next sweep.
            continue
        point = _point_at(study, runs.header.get("centre") or runs.best(rule, size) or {})
        reached = {side: _reached(ladder, rates) for side, ladder in ladders.items()}
        low, high = (ladders[side][reached[side]] for side in ("low", "high"))
        side = edge(losses.mean(0)[[low <= rate <= high for rate in rates]])
        if side is not None:
            new = ladders[side][reached[side] + 1 : reached[side] + 3]
            added += [
                Run(rule=rule, size=size, point={**point, "lr": rate}, seed=seed)
                for rate in new
                for seed in study.seeds
            ]
    return added


def _point_at(study: Study, centre: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the study's point that a record has these values of, but for the rate."""
    others = {name: value for name, value in centre.items() if name != "lr"}
    for point in study.points():
        if all(as_recorded(point.get(name)) == value for name, value in others.items()):
            return point
    return {**study.points()[0], **others}


def _reached(ladder: Sequence[float], rates: Sequence[float]) -> int:
    """Return how many rates beyond the grid were run.

    Two rates train together. One whose partner was lost to a crash does not count: the two train
    again, as they would have.
    """
    count = next((i for i, rate in enumerate(ladder) if rate not in rates), len(ladder)) - 1
    return count if count == len(ladder) - 1 else count // 2 * 2
