"""Places that were run with few of the seeds: filled means, and the posterior of their optimum."""

import math

import numpy as np
import pytest

from mutransfer.statistics import filled, posterior

NAN, INF = math.nan, math.inf
PLACES = np.array([-9.0, -7.0, -6.5, -6.0, -5.5, -4.0])
FEW = np.array([[True] * 6] + [[False, False, True, True, True, False]] * 2)
"""The first seed everywhere, two more around the optimum."""


def seeds_of_a_valley(number: int, best: float) -> np.ndarray:
    """Losses of three seeds, each with its offset and its own shift of the optimum."""
    draw = np.random.default_rng(number)
    shifts, offsets = 0.2 * draw.standard_normal((3, 1)), 0.05 * draw.standard_normal((3, 1))
    valley = 1 + 0.05 * (PLACES - best - shifts) ** 2
    return np.asarray(valley + offsets + 0.001 * draw.standard_normal((3, 6)))


def test_sums_of_effects_are_filled_exactly() -> None:
    whole = np.array([[0.0], [1.0], [-2.0]]) + np.array([[3.0, 1.0, 2.0, 5.0]])
    holes = whole.copy()
    holes[1, 0] = holes[2, 0] = holes[2, 3] = NAN
    assert filled(holes) == pytest.approx(whole)
    assert filled(whole) is not None and (filled(whole) == whole).all()


def test_missing_runs_of_diverged_values_are_infinite() -> None:
    losses = np.array([[1.0, INF, 2.0], [1.5, NAN, NAN], [NAN, NAN, NAN]])
    found = filled(losses)
    assert np.isinf(found[:, 1]).all() and np.isfinite(found[:, [0, 2]]).all()


def test_a_lucky_seed_is_no_advantage() -> None:
    # The first seed is low everywhere; the second value, where it is alone, is worse for it.
    losses = np.array([[1.0, 1.1], [2.0, NAN], [2.1, NAN]])
    assert np.nanmean(losses, 0).argmin() == 1
    assert filled(losses).mean(0).argmin() == 0


def test_a_run_that_was_not_made_is_no_divergence() -> None:
    losses = seeds_of_a_valley(0, -6.2)
    found = posterior(PLACES, np.where(FEW, losses, NAN), run=FEW)
    assert found.status == "inside" and PLACES[0] < found.low < found.high < PLACES[-1]
    taken_for_diverged = posterior(PLACES, np.where(FEW, losses, NAN))
    assert taken_for_diverged.high <= -4.0


def test_intervals_cover_where_few_places_have_all_seeds() -> None:
    bests = np.random.default_rng(1).uniform(-6.5, -5.5, 60)
    found = [
        posterior(PLACES, np.where(FEW, seeds_of_a_valley(number, best), NAN), run=FEW)
        for number, best in enumerate(bests)
    ]
    inside = [f.low <= best <= f.high for f, best in zip(found, bests, strict=True)]
    assert np.mean(inside) >= 0.9
    assert np.median([f.high - f.low for f in found]) < 1.0


def test_more_seeds_narrow_the_interval() -> None:
    widths = []
    for seeds in (1, 3):
        run = FEW.copy()
        run[seeds:] = False
        found = [
            posterior(PLACES, np.where(run, seeds_of_a_valley(number, -6.1), NAN), run=run)
            for number in range(20)
        ]
        widths.append(np.median([f.high - f.low for f in found]))
    assert widths[1] < 0.9 * widths[0]


def test_all_runs_is_the_usual_posterior() -> None:
    losses = seeds_of_a_valley(4, -6.0)
    every = np.ones(losses.shape, dtype=bool)
    same, usual = posterior(PLACES, losses, run=every), posterior(PLACES, losses)
    assert (same.low, same.position, same.high) == (usual.low, usual.position, usual.high)
