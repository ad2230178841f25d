"""The runs of one size over two hyperparameters, as places and losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..core import MutransferError, Size
from ..statistics import FEWEST_SURFACE_POINTS, Array, SurfacePoints
from ..studies import Runs
from ._scales import on_scale, positions, scale_along


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceRuns(SurfacePoints):
    """The runs of one size over two hyperparameters, as arrays.

    Attributes:
        note: What was done about missing seeds; empty if none are missing.
    """

    note: str


def surface_runs(runs: Runs, rule: str, size: Size, over: tuple[str, str]) -> SurfaceRuns:
    """Return the runs of one size, other hyperparameters held at their best values.

    Raises:
        MutransferError: one of the two was not swept or has no scale, or the points do not show a
            surface.
    """
    for name in over:
        if name not in runs.hyperparameters:
            raise MutransferError(
                f"the record did not sweep {name!r}: it has {', '.join(runs.hyperparameters)}"
            )
    scales = tuple(scale_along(runs, name) for name in over)
    if "choice" in scales:
        raise MutransferError(
            f"{over[scales.index('choice')]} has no scale, as its values are choices: a surface "
            "takes two hyperparameters that are numbers"
        )
    best = runs.best(rule, size)
    if best is None:
        raise MutransferError(f"rule {rule!r} at {size}: every run diverged, or there are none")
    others = {name: value for name, value in best.items() if name not in over}
    cells: dict[tuple[float, float], dict[int, float]] = {}
    for row in runs.rows:
        is_here = row["rule"] == rule and runs.size_of(row) == size
        held = all(row.get(name) == value for name, value in others.items())
        if is_here and held and row.get("status") != "failed":
            point = (float(row[over[0]]), float(row[over[1]]))
            cells.setdefault(point, {})[row["seed"]] = runs.loss_of(row)
    axes = list(zip(*cells, strict=True))
    placed = np.all([on_scale(axes[i], scales[i]) for i in (0, 1)], axis=0) if axes else []
    points = sorted(point for point, is_placed in zip(cells, placed, strict=True) if is_placed)
    places = np.column_stack([positions([point[i] for point in points], scales[i]) for i in (0, 1)])
    losses, note = _complete(cells, points)
    found = SurfaceRuns(
        scales=(scales[0], scales[1]),
        places=places,
        losses=losses,
        note=note,
    )
    _check(found, f"rule {rule!r} at {size}", over)
    return found


def _complete(
    cells: dict[tuple[float, float], dict[int, float]], points: list[tuple[float, float]]
) -> tuple[Float[Array, "seeds points"], str]:
    """Return losses of the seeds run everywhere, or else means of those there are."""
    seeds = sorted(set().union(*cells.values()))
    whole = [seed for seed in seeds if all(seed in cells[point] for point in points)]
    if whole:
        note = f"seeds {', '.join(str(s) for s in seeds if s not in whole)} lack runs: left out"
        table = [[cells[point][seed] for point in points] for seed in whole]
        return np.array(table), note if len(whole) < len(seeds) else ""
    means = [float(np.mean(list(cells[point].values()))) for point in points]
    return np.array([means]), "no seed was run at every point: their means count as one seed"


def _check(found: SurfaceRuns, where: str, over: tuple[str, str]) -> None:
    """Raise if the points that did not diverge do not show a surface."""
    names = " and ".join(over)
    if not found.are_enough:
        raise MutransferError(
            f"{where} has {found.alive.sum()} points of {names} that did not diverge: a surface "
            f"needs at least {FEWEST_SURFACE_POINTS}; sweep a grid of both"
        )
    if not found.vary_together:
        raise MutransferError(
            f"{where}: {names} were not varied together in three values each, so that a ridge "
            "does not show; sweep a grid of both, or points drawn at random"
        )
