"""Coverage of predictions on simulated laws, and faults that must lose it."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.transfer import laws
from mutransfer.certificates import law_prior
from mutransfer.statistics import AxisPrior, LawPrior, average_of_laws

DRAWS = 40
LEAST = 0.85
"""Least coverage of so few draws; 90% is shown by the benchmark, with ten times as many."""

PRIOR = law_prior("lr", ["width"])
FAR = np.array([[6.0]])
"""Eight times the largest of four sizes."""


def coverage(
    law: laws.Law, error: float, scatter: float, prior: LawPrior = PRIOR, stated: float = 1.0
) -> float:
    """Share of the intervals at 8 times the largest size that hold."""
    held = []
    for z, places, truth in laws.cases(law, error, scatter, DRAWS):
        errors = np.full(len(z), stated * error)
        found = average_of_laws(z[:, None], places, errors, prior).predict(FAR)
        held.append(found.low[0] <= truth[-1] <= found.high[0])
    return float(np.mean(held))


@pytest.mark.parametrize("law", [laws.constant, laws.linear, laws.saturating, laws.random_slopes])
def test_intervals_at_eight_times_the_size_cover(law: laws.Law) -> None:
    assert coverage(law, 0.05, 0.05) >= LEAST


def least_squares(law: laws.Law, error: float) -> float:
    held = []
    for z, places, truth in laws.cases(law, error, 0.05, DRAWS):
        low, high = laws.least_squares(z, places, error, FAR[:, 0])
        held.append(low[0] <= truth[-1] <= high[0])
    return float(np.mean(held))


def straight(law: laws.Law, error: float) -> float:
    """Coverage of a prior without curvature, scatter or tails."""
    axis = AxisPrior(bend_spread=1e-6, wander=1e-6, tail=0.0)
    return coverage(law, error, 0.05, LawPrior(axes=(axis,), scatter=1e-6))


@pytest.mark.parametrize("fault", [least_squares, straight])
def test_laws_without_their_uncertainty_lose_coverage(
    fault: Callable[[laws.Law, float], float],
) -> None:
    assert fault(laws.random_slopes, 0.05) < 0.6


def test_scatter_that_is_forced_to_zero_loses_coverage() -> None:
    """A constant with scatter: without one, its errors are taken for the whole of the noise."""
    none = dataclasses.replace(PRIOR, scatter=1e-6)
    none = dataclasses.replace(none, axes=(AxisPrior(bend_spread=1e-6, wander=1e-6),))
    assert coverage(laws.constant, 0.02, 0.2, none) < LEAST < coverage(laws.constant, 0.02, 0.2)


@pytest.mark.parametrize("law", [laws.accelerating, laws.late])
def test_drifts_that_grow_are_covered_or_warned_of(law: laws.Law) -> None:
    rows = laws.measure(law, 0.05, 0.0, DRAWS)
    assert rows[0]["covered or warned"] >= 0.9
    assert laws.measure(laws.constant, 0.05, 0.0, DRAWS)[0]["drifts"] == 0
