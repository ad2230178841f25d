"""Intervals of the optimum hold it as often as they say, on curves whose optimum is known."""

import numpy as np
import pytest

from benchmarks.transfer.families import FAMILIES, Family, draw
from mutransfer.statistics import Array, interval, posterior, resamples, vertex

DRAWS = 40
FEWEST = 0.85
"""Smallest share of 40 that passes: 0.95 falls below it once in a hundred."""


def bootstrap(places: Array, losses: Array) -> tuple[float, float]:
    """Percentiles of resampled vertices: the planted fault."""
    return interval(vertex(places, losses[resamples(len(losses))].mean(1)))


def ours(places: Array, losses: Array) -> tuple[float, float]:
    """Interval of the posterior."""
    found = posterior(places, losses)
    return found.low, found.high


def coverage(method, family: str, seeds: int, step: float) -> float:  # type: ignore[no-untyped-def]
    """Share of intervals that hold the optimum."""
    rng = np.random.default_rng([seeds, len(family)])
    hits = []
    for _ in range(DRAWS):
        places, losses, truth = draw(FAMILIES[family], seeds, step, 0.01, rng)
        low, high = method(places, losses)
        hits.append(low <= truth <= high)
    return float(np.mean(hits))


@pytest.mark.parametrize("family", FAMILIES)
def test_three_seeds_cover(family: str) -> None:
    assert coverage(ours, family, 3, 1.0) >= FEWEST


@pytest.mark.parametrize("family", ["symmetric", "steep right"])
def test_one_seed_covers_with_its_stated_shift(family: str) -> None:
    assert coverage(ours, family, 1, 1.0) >= FEWEST


@pytest.mark.parametrize("family", ["steep right", "cliff"])
def test_the_bootstrap_of_the_vertex_fails_the_same_check(family: str) -> None:
    assert coverage(bootstrap, family, 3, 1.0) < FEWEST


DIPS = {
    "gaussian": lambda d: 0.3 * (1 - np.exp(-(d**2) / 2)),
    "lorentzian": lambda d: 0.3 * d**2 / (1 + d**2),
    "truncated": lambda d: np.minimum(0.03 * d**2, 0.25),
}
"""Curves that level off on both sides: no training at low rates, chance at high ones."""


@pytest.mark.parametrize("step", [1.0, 2.0, 3.32])
@pytest.mark.parametrize("dip", DIPS)
def test_curves_that_level_off_on_both_sides_are_covered(dip: str, step: float) -> None:
    """They are symmetric, and so is the error of the optimum."""
    family = Family(DIPS[dip], tilts=False, span=9.9, within=(0.4, 0.6))
    rng = np.random.default_rng(0)
    hits, errors = [], []
    for _ in range(DRAWS):
        places, losses, truth = draw(family, 3, step, 0.005, rng)
        found = posterior(places, losses)
        hits.append(found.low <= truth <= found.high)
        errors.append(found.position - truth)
    assert np.mean(hits) >= FEWEST
    assert abs(np.mean(errors)) < 0.4 * step


def test_a_cliff_is_located_to_about_a_step() -> None:
    rng = np.random.default_rng(0)
    curves = [draw(FAMILIES["cliff"], 5, 1.0, 0.01, rng)[:2] for _ in range(20)]
    widths = [high - low for low, high in (ours(*curve) for curve in curves)]
    assert 0.5 <= np.median(widths) <= 1.15
