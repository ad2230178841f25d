"""The losses of one size as a complete grid, also of a record that lacks runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..core import MutransferError, Size
from ..statistics import Array, filled
from ..studies import Runs
from ._scales import on_scale

FEW = 0.5
"""Share of the values below which a seed was not meant for all of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Losses of one size at values of one hyperparameter, without gaps.

    Attributes:
        size: The size.
        values: The values, ascending where they are numbers.
        seeds: The seeds.
        losses: Infinite where a run diverged; from the other seeds where it was not made.
        ran: The runs that were made: a search runs seeds where they count.
        note: What was left out; empty if nothing was.
    """

    size: Size
    values: list[Any]
    seeds: tuple[int, ...]
    losses: Float[Array, "seeds values"]
    ran: Bool[Any, "seeds values"]
    note: str

    def part(self, seeds: Bool[Any, " seeds"], values: Bool[Any, " values"], note: str) -> Grid:
        """Return the part with these seeds and values."""
        return Grid(
            size=self.size,
            values=[self.values[i] for i in np.flatnonzero(values)],
            seeds=tuple(self.seeds[i] for i in np.flatnonzero(seeds)),
            losses=self.losses[seeds][:, values],
            ran=self.ran[seeds][:, values],
            note=note,
        )


def grid(runs: Runs, rule: str, size: Size, over: str) -> Grid:
    """Return the grid of one size, without the values that lack seeds by accident.

    Where the best loss is among those values, the seeds that lack runs are left out instead. Seeds
    that were run at few values, as the best ones are run again, count at these.

    Raises:
        MutransferError: there are no runs, or no seed was run at every value either.
    """
    values, seeds, losses = runs.grid(rule, size, over)
    missing = np.isnan(losses)
    everything = Grid(
        size=size,
        values=values,
        seeds=tuple(seeds),
        losses=filled(losses),
        ran=~missing,
        note="",
    )
    if not missing.any() or "search" in runs.header:
        return everything
    again = _again(missing)
    whole = np.asarray(~missing[~again].any(0))
    counts = (~missing).sum(0)
    means = np.where(missing, 0.0, losses).sum(0) / np.maximum(counts, 1)
    rerun = f"; seed {_listed(seeds, again)} counts where it was run" if again.any() else ""
    if whole.any() and means[whole].min() <= means.min():
        lost = _listed(values, missing.any(0) if whole.all() else ~whole)
        left_out = "" if whole.all() else ", which is left out"
        return everything.part(
            np.ones(len(seeds), dtype=bool),
            whole,
            f"{size} lacks seeds at {over} {lost}{left_out}{rerun}",
        )
    complete = np.asarray(~missing.any(1))
    if not complete.any():
        raise MutransferError(
            f"rule {rule!r} at {size} lacks runs: no seed was run at every value of {over}, and "
            "the best one lacks seeds; run what is missing"
        )
    return everything.part(
        complete | again,
        np.ones(len(values), dtype=bool),
        f"{size} lacks runs of seed {_listed(seeds, ~complete & ~again)}, which is left out{rerun}",
    )


def without_zero(cells: Grid, scale: str) -> tuple[Grid, bool | None]:
    """Return the part of a grid that has places on its scale, and if 0 is the best.

    The second is None where all values have places.
    """
    placed = on_scale(cells.values, scale)
    if placed.all():
        return cells, None
    means = np.nan_to_num(cells.losses.mean(0), nan=np.inf, posinf=np.inf)
    is_best = bool(means[~placed].min() < means[placed].min(initial=np.inf))
    return cells.part(np.ones(len(cells.seeds), dtype=bool), placed, cells.note), is_best


def _again(missing: Bool[Any, "seeds values"]) -> Bool[Any, " seeds"]:
    """Return the seeds that were run at few values, while others were run at most."""
    few = np.asarray((~missing).mean(1) < FEW)
    return np.zeros_like(few) if few.all() else few


def _listed(values: Sequence[Any], which: Bool[Any, " values"]) -> str:
    return ", ".join(_text(value) for value, is_one in zip(values, which, strict=True) if is_one)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
