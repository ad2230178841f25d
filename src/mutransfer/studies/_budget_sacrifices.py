"""Sacrifices: what a study gives up, step by step, until a budget can pay it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ..core import MutransferError, in_octaves, place_of
from ._designs import Grid
from ._hyperparameters import HYPERPARAMETERS, scale_of
from ._search_axes import axes_of
from ._study import Study
from ._swept import designs

FEWEST_SEEDS = 2
"""Seeds that are kept: the fewest with a spread."""

FEWEST_SIZES = 3
"""Sizes that are kept along an axis: the fewest that show a drift and its error."""

FEWEST_VALUES = 5
"""Values of a hyperparameter that are kept: the fewest for a parabola with an error."""

COARSEST = 1.0
"""Coarsest spacing of a grid in octaves: a valley of losses is a few octaves wide."""

LEAST_STEPS = 0.5
"""Share of the steps that is kept: halving them moves best rates by a third of an octave."""

FEWEST_STEPS = 50
"""Steps that are kept, unless the study has fewer: shorter runs see the warm-up alone."""

_AXES = ("width", "depth", "context", "batch", "steps")

_SPACING = 1e-6
"""Rounding of spacings, in octaves."""


@dataclass(frozen=True)
class Candidate:
    """A study that a budget may pay.

    Attributes:
        study: The study.
        search: Name of its search; None for one that is not known here.
    """

    study: Study
    search: str | None


Price = Callable[[Candidate], float]
"""The cost of a candidate in the unit of the budget."""


def fitted(asked: Candidate, amount: float, price: Price, *, is_free: bool) -> Candidate | None:
    """Return the first candidate within an amount; None where there is none.

    What was given up before the last step is taken back where the budget still pays it.

    Args:
        asked: The study and the search that were asked for.
        amount: The amount.
        price: The cost of a candidate.
        is_free: True if the search was left open.
    """
    for candidate in ladder(asked, price, is_free=is_free):
        if price(candidate) <= amount:
            return _restored(candidate, asked, amount, price)
    return None


def smallest(asked: Candidate, price: Price, *, is_free: bool) -> Candidate:
    """Return the cheapest candidate, without sacrifices that save nothing."""
    *_, last = ladder(asked, price, is_free=is_free)
    return _restored(last, asked, price(last), price)


def ladder(asked: Candidate, price: Price, *, is_free: bool) -> Iterator[Candidate]:
    """Yield candidates, each smaller than the one before; see `fit` for the order."""
    yield asked
    study, search = asked.study, asked.search
    refined = replace(asked, search="refine")
    if is_free and can_refine(study) and price(refined) < price(asked):
        search = "refine"
        yield refined
    while len(study.seeds) > FEWEST_SEEDS:
        study = replace(study, seeds=study.seeds[:-1])
        yield Candidate(study, search)
    if search == "grid" and (coarser := _coarser(study)) is not None:
        study = coarser
        yield Candidate(study, search)
    while smaller := [Candidate(each, search) for each in _without_largest(study)]:
        study = min(smaller, key=price).study
        yield Candidate(study, search)
    for each in _shorter(study):
        yield Candidate(each, search)


def can_refine(study: Study) -> bool:
    """Return True if a hyperparameter of the study can be refined."""
    try:
        return bool(axes_of(study, 0.0))
    except MutransferError:
        return False


def differences(asked: Study, proposed: Study) -> dict[str, tuple[Any, Any]]:
    """Return the arguments in which a proposal differs, with both values."""
    names = ["seeds", *_AXES, "axes", *HYPERPARAMETERS]
    pairs = {name: (getattr(asked, name), getattr(proposed, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _restored(candidate: Candidate, asked: Candidate, amount: float, price: Price) -> Candidate:
    study = candidate.study
    for name, (before, _) in differences(asked.study, study).items():
        fuller = Candidate(replace(study, **{name: before}), candidate.search)
        if price(fuller) <= amount:
            study = fuller.study
    return replace(candidate, study=study)


def _coarser(study: Study) -> Study | None:
    """Return the study with every second value of grids that are finer than needed."""
    if any(not isinstance(design, Grid) for design in designs(study)):
        return None
    found: dict[str, Any] = {}
    for name in HYPERPARAMETERS:
        line = getattr(study, name)
        if isinstance(line, tuple) and in_octaves(scale := scale_of(name, line)):
            every = line[::2]
            places = [place_of(value, scale) for value in every]
            ratios = [2.0 ** (upper - lower) for lower, upper in pairwise(places)]
            if len(every) >= FEWEST_VALUES and max(ratios) <= 2.0**COARSEST + _SPACING:
                found[name] = every
    return replace(study, **found) if found else None


def _without_largest(study: Study) -> list[Study]:
    """Return the studies that lack the largest value of one axis."""
    if isinstance(study.axes, tuple):
        # Listed sizes have no order along one axis: they go from small to large together.
        axes = study.axes[:-1]
        return [replace(study, axes=axes)] if len(axes) >= FEWEST_SIZES else []
    lines = {name: getattr(study, name) for name in _AXES}
    fewer: dict[str, Any] = {
        name: line[:-1]
        for name, line in [*lines.items(), *study.axes.items()]
        if isinstance(line, tuple) and len(line) > FEWEST_SIZES
    }
    return [
        replace(study, axes={**study.axes, name: line})
        if name in study.axes
        else replace(study, **{name: line})
        for name, line in fewer.items()
    ]


def _shorter(study: Study) -> Iterator[Study]:
    """Yield the study with fewer steps, in tenths of them."""
    if not isinstance(study.steps, int):
        return
    least = max(FEWEST_STEPS, round(LEAST_STEPS * study.steps))
    for tenths in range(9, 0, -1):
        steps = round(study.steps * tenths / 10)
        if steps < least:
            return
        yield replace(study, steps=steps)
