"""The search for the best value between those given."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from mutransfer.limits._optimum import FINEST, MOST, Scale, best_value, unsettled

OCTAVES = 2.0 ** np.arange(-6, 2)


def settled(grid: np.ndarray, loss: Callable[[float], float]) -> tuple[float | None, int]:
    """Return the best value, and how many values were added."""
    scale, values = Scale(grid), list(grid)
    while True:
        losses = np.array([loss(value) for value in values])
        value = unsettled(scale, np.array(values), losses)
        if value is None:
            return best_value(np.array(values), losses), len(values) - len(grid)
        values = sorted({*values, value})


@pytest.mark.parametrize("wall", [1e2, math.inf])
@pytest.mark.parametrize("distance", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("best", [-2.9, -1.35, -1.0, -0.63])
def test_the_optimum_is_found_beside_the_rate_of_divergence(
    best: float, distance: float, wall: float
) -> None:
    """The vertex of a parabola was half an octave off, whatever the losses."""

    def loss(rate: float) -> float:
        octave = math.log2(rate)
        return wall if octave > best + distance else 0.03 + 0.05 * (octave - best) ** 2

    found, added = settled(OCTAVES, loss)
    assert found is not None and abs(math.log2(found) - best) <= 1 / FINEST
    assert 0 < added <= MOST


@pytest.mark.parametrize("best", [0.15, 0.34, 0.71, 0.85])
def test_a_linear_scale_is_halved_in_its_own_unit(best: float) -> None:
    grid = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    found, added = settled(grid, lambda value: abs(value - best) ** 1.5)
    assert found is not None and abs(found - best) <= 0.2 / FINEST and added <= MOST


def test_of_two_minima_between_the_same_neighbours_the_lower_is_found() -> None:
    def loss(rate: float) -> float:
        octave = math.log2(rate)
        return 0.1 + 0.01 * abs(octave) + min((octave + 2.4) ** 2, (octave + 1.55) ** 2 - 0.01)

    found, _ = settled(OCTAVES, loss)
    assert found is not None and math.log2(found) == pytest.approx(-1.55, abs=1 / FINEST)


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0], ids=["high", "equal", "low"])
def test_at_the_edge_nothing_is_added(slope: float) -> None:
    assert settled(OCTAVES, lambda rate: slope * math.log2(rate)) == (None, 0)


def test_an_unknown_loss_is_left_out() -> None:
    grid, losses = np.array([0.25, 0.5, 1.0, 2.0]), np.array([0.3, 0.2, math.nan, 0.3])
    assert best_value(grid, losses) == 0.5
    assert best_value(grid[2:], losses[2:]) is None
