"""One rule against another, by a paired test over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float

from ..core import Estimate, Size, varying
from ..statistics import Array, student_chance, student_t
from ..studies import Runs

_EXACT = 16
"""Pairs up to which all ways to turn their signs are gone through."""

_DRAWS = 20_000
"""Ways that are drawn where there are more pairs."""

LEVEL = 0.05
"""Probability below which a difference is taken to be there."""

Point = tuple[Any, ...]
Losses = Mapping[int, Mapping[Point, float]]
"""The loss of each seed at each point."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The loss of the second rule less that of the first, over pairs of runs.

    Attributes:
        pairs: Number of pairs; a pair is one seed at one size.
        mean: Their mean with its 95% interval by Student's t; None without pairs.
        chance: Probability of so large a mean if neither rule were better.
        least: The smallest probability that so many pairs can have.
    """

    pairs: int
    mean: Estimate | None
    chance: float
    least: float = 0.0

    @property
    def is_shown(self) -> bool:
        """True if the difference is not put down to chance."""
        return self.chance < LEVEL


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Two rules, each tuned, and at equal values.

    Attributes:
        first: The rule that is compared with.
        second: The other one.
        sizes: Each size, all where there is one alone, with the difference of the tuned losses and
            that at equal values.
        tuned: The difference of the tuned losses over all sizes.
        equal: The difference at equal values over all sizes.
        diverged: Points and seeds at which one alone diverged: the first, and the second.
    """

    first: str
    second: str
    sizes: tuple[tuple[str, Difference, Difference], ...]
    tuned: Difference
    equal: Difference
    diverged: tuple[int, int]


def versus(runs: Runs, first: str, second: str) -> Versus | None:
    """Compare two rules of a record; None where they share no seed of a size.

    Each rule is tuned for a seed by the mean of the other seeds, so that more values of a
    hyperparameter give no rule an advantage. At equal values, a pair is the mean over all points
    at which both came to their end.

    Args:
        runs: The record.
        first: The rule to compare with.
        second: The other one.
    """
    sizes = [size for size in runs.sizes(first) if size in runs.sizes(second)]
    losses = _losses(runs)
    tuned: dict[Size, list[float]] = {}
    equal: dict[Size, list[float]] = {}
    diverged = np.zeros(2, dtype=int)
    for size in sizes:
        one, other = losses.get((first, size), {}), losses.get((second, size), {})
        seeds = sorted(one.keys() & other.keys())
        pairs = [(_tuned(one, seed), _tuned(other, seed)) for seed in seeds]
        tuned[size] = _finite(b - a for a, b in pairs)
        common = [
            [(one[s][p], other[s][p]) for p in one[s].keys() & other[s].keys()] for s in seeds
        ]
        means = [[b - a for a, b in each if math.isfinite(a + b)] for each in common]
        equal[size] = [math.fsum(each) / len(each) for each in means if each]
        ends = np.isinf(np.array([pair for each in common for pair in each]).reshape(-1, 2))
        diverged += ends[ends.sum(1) == 1].sum(0)
    if not any(tuned.values()) and not any(equal.values()):
        return None
    axes = varying(sizes)
    return Versus(
        first=first,
        second=second,
        sizes=tuple(
            (size.along(axes), tuned_difference([tuned[size]]), difference(equal[size]))
            for size in sizes
        ),
        tuned=tuned_difference([*tuned.values()]),
        equal=difference([each for values in equal.values() for each in values]),
        diverged=(int(diverged[0]), int(diverged[1])),
    )


def difference(values: Sequence[float]) -> Difference:
    """Return the mean of differences, and how likely chance is, by turning signs.

    >>> found = difference([0.1, 0.2, 0.3])
    >>> round(found.mean.value, 3), found.chance
    (0.2, 0.25)
    """
    each = np.array(values, dtype=np.float64)
    return Difference(
        pairs=len(each),
        mean=_interval(each, 1.0)[0],
        chance=_chance(each) if len(each) else 1.0,
        least=2.0 ** (1 - len(each)),
    )


def tuned_difference(by_size: Sequence[Sequence[float]]) -> Difference:
    """Return the mean of tuned differences, and how likely chance is, by Student's t.

    Seeds of a size choose by nearly the same losses, so that their differences err together: the
    variance of the mean of n is taken for 1/n + 1/(n - 1) times theirs, as in cross-validation
    (Nadeau and Bengio, Inference for the Generalization Error, 2003).

    Args:
        by_size: The differences of each size.
    """
    each = np.array([value for values in by_size for value in values], dtype=np.float64)
    chosen = math.fsum(len(v) ** 2 / max(len(v) - 1, 1) for v in by_size if v)
    mean, error = _interval(each, 1 + chosen / max(len(each), 1))
    chance = 1.0
    if mean is not None and len(each) > 1 and mean.value:
        ratio = math.inf if not error else mean.value / error
        chance = student_chance(ratio, len(each) - 1)
    return Difference(pairs=len(each), mean=mean, chance=chance)


def _interval(each: Float[Array, " pairs"], factor: float) -> tuple[Estimate | None, float]:
    """Return the mean with its interval, and its standard error.

    Args:
        each: The differences.
        factor: Factor of the variance of their mean.
    """
    if not len(each):
        return None, math.inf
    mean, error, half = float(each.mean()), math.inf, math.inf
    if len(each) > 1:
        error = float(each.std(ddof=1)) * math.sqrt(factor / len(each))
        half = student_t(len(each) - 1) * error
    return Estimate(value=mean, low=mean - half, high=mean + half), error


def _chance(each: Float[Array, " pairs"]) -> float:
    """Return the share of ways to turn signs with a mean at least as large."""
    if len(each) <= _EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(each))))
        return float((np.abs(signs @ each) >= abs(each.sum()) * (1 - 1e-9)).mean())
    random = np.random.default_rng(0)
    signs = random.integers(0, 2, size=(_DRAWS, len(each)), dtype=np.int8) * 2.0 - 1.0
    more = int((np.abs(signs @ each) >= abs(each.sum()) * (1 - 1e-9)).sum())
    return (1 + more) / (1 + _DRAWS)


def _losses(runs: Runs) -> dict[tuple[str, Size], dict[int, dict[Point, float]]]:
    losses: dict[tuple[str, Size], dict[int, dict[Point, float]]] = {}
    for row in runs.rows:
        if row.get("status") != "failed":
            point = tuple(row.get(name) for name in runs.hyperparameters)
            own = losses.setdefault((row["rule"], runs.size_of(row)), {})
            own.setdefault(row["seed"], {})[point] = runs.loss_of(row)
    return losses


def _tuned(losses: Losses, seed: int) -> float:
    """Return the loss of a seed at the point that the other seeds choose.

    A seed that is alone chooses for itself.
    """
    others = [losses[each] for each in losses if each != seed] or [losses[seed]]
    points = [point for point in losses[seed] if all(point in each for each in others)]
    if not points:
        return math.inf
    best = min(points, key=lambda point: math.fsum(each[point] for each in others))
    return losses[seed][best]


def _finite(values: Any) -> list[float]:
    return [value for value in values if math.isfinite(value)]
