"""The minimum of a curve that was measured on a grid."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mutransfer.statistics import edge, vertex

INF = np.inf


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.25, 3), min_size=2, max_size=9),
    start=st.floats(-20, 0),
    share=st.floats(0, 1),
    curvature=st.floats(0.1, 10),
    lowest=st.floats(0, 5),
)
def test_a_parabola_is_found_exactly_on_any_grid(
    gaps: list[float], start: float, share: float, curvature: float, lowest: float
) -> None:
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


@pytest.mark.parametrize("bad", [np.nan, -INF])
def test_what_is_no_number_counts_as_infinite(bad: float) -> None:
    grid = np.arange(4.0)
    for losses in ([INF, 1, 2, 3], [3, 1, INF, INF], [3, 2, 1, INF], [INF] * 4):
        other = np.where(np.isinf(losses), bad, losses)
        assert vertex(grid, other) == vertex(grid, np.array(losses))
        assert edge(other) == edge(np.array(losses))
