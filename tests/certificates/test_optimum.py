"""The best rate of one size."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mutransfer._errors import MutransferError
from mutransfer.studies import Size
from mutransfer.transfer import optimum, vertex

INF = np.inf
SIZE = Size(width=32, depth=2)
RATES = [2.0**power for power in range(-4, 1)]


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.25, 3), min_size=2, max_size=9),
    start=st.floats(-20, 0),
    share=st.floats(0, 1),
    curvature=st.floats(0.1, 10),
    lowest=st.floats(0, 5),
)
def test_a_parabola_is_found_exactly_on_any_grid(gaps: list[float], start: float, share: float, curvature: float, lowest: float) -> None:
    grid = start + np.cumsum([0, *gaps])
    centre = grid[0] + share * (grid[-1] - grid[0])
    losses = lowest + curvature * (grid - centre) ** 2
    assume(0 < np.argmin(losses) < len(grid) - 1)
    assert vertex(grid, losses) == pytest.approx(centre, abs=1e-9)


@pytest.mark.parametrize(
    ("grid", "losses", "expected"),
    [
        ([0, 1, 2], [INF, 1, 2], 1.5),
        ([0, 1, 2], [2, 1, INF], 0.5),
        ([0, 1, 2], [INF, 1, INF], 1.0),
        ([0, 1, 4], [INF, 1, 2], 2.5),
        ([0, 1, 2, 3], [3, 1, 1, 3], 1.5),
        ([0, 1, 2], [1, 2, 3], 0),
        ([0, 1, 2], [3, 2, 1], 2),
        ([0, 1, 2], [1, INF, INF], 0),
        ([0, 1, 2], [INF, INF, INF], 0),
        ([0, 1, 2], [1, 1, 1], 0),
    ],
)
def test_limits_and_edges(grid: Sequence[float], losses: Sequence[float], expected: float) -> None:
    assert vertex(np.array(grid, dtype=float), np.array(losses, dtype=float)) == expected


@pytest.mark.parametrize("losses", [[INF, 1, 2], [2, 1, INF]])
def test_an_infinite_neighbour_is_the_limit_of_a_large_one(losses: Sequence[float]) -> None:
    grid = np.array([0.0, 1.0, 3.0])
    large = np.where(np.isinf(losses), 1e9, losses)
    assert vertex(grid, np.array(losses)) == pytest.approx(float(vertex(grid, large)), abs=1e-6)


def test_many_samples_at_once_are_each_alone() -> None:
    grid, losses = np.arange(6.0), np.random.default_rng(0).random((3, 4, 6))
    alone = [[float(vertex(grid, row)) for row in rows] for rows in losses]
    np.testing.assert_array_equal(vertex(grid, losses), alone)


def test_the_interval_is_that_of_the_seeds() -> None:
    centres = np.array([-2.5, -2.0, -1.5])
    losses = (np.log2(RATES) - centres[:, None]) ** 2
    best, samples = optimum("sp", SIZE, RATES, losses)
    assert best.log2_lr == pytest.approx(-2) and best.loss == pytest.approx(np.mean((centres + 2) ** 2))
    assert best.low == pytest.approx(-2.5) and best.high == pytest.approx(-1.5), "all resamples of one seed are in the 95% interval"
    assert len(samples) == 1000 and np.mean(samples) == pytest.approx(-2, abs=0.05)
    assert best.size == SIZE and best.diverged == 0


def test_equal_seeds_have_no_interval() -> None:
    best, _ = optimum("sp", SIZE, RATES, np.tile((np.log2(RATES) + 1.75) ** 2, (3, 1)))
    assert (best.low, best.log2_lr, best.high) == pytest.approx((-1.75, -1.75, -1.75))


def test_the_share_of_diverged_runs_is_counted() -> None:
    losses = np.array([[3, 2, 1, 2, INF], [3, 2, 1, INF, INF]])
    best, _ = optimum("sp", SIZE, RATES, losses)
    assert best.diverged == 0.3 and best.log2_lr == -2.5


@pytest.mark.parametrize(
    ("losses", "found", "advice"),
    [
        ([1, 2, 3, 4, 5], "the lowest loss is at the edge of the grid, 2^-4", "add rates below it"),
        ([5, 4, 3, 2, 1], "the lowest loss is at the edge of the grid, 2^0", "add rates above it"),
        ([1, 2, INF, INF, INF], "the lowest loss is at the edge of the grid, 2^-4", "add rates below it"),
        ([INF] * 5, "every rate diverged", "add rates below it"),
    ],
)
def test_an_optimum_at_the_edge_is_refused_with_advice(losses: Sequence[float], found: str, advice: str) -> None:
    says = f"rule 'sp' at width 32, depth 2: {found}, so the optimum is not bracketed; {advice} (`mutransfer sweep ... --extend 4` does)"
    with pytest.raises(MutransferError, match=re.escape(says)):
        optimum("sp", SIZE, RATES, np.array([losses]))


def test_two_rates_are_too_few() -> None:
    with pytest.raises(MutransferError, match="rule 'sp' at width 32, depth 2 was run at 2 rates: an optimum needs at least 3"):
        optimum("sp", SIZE, RATES[:2], np.array([[1.0, 2.0]]))
