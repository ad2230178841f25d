"""Statistics against exact truth and independent implementations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mutransfer.statistics import (
    HOPELESS,
    diverged_at,
    edge,
    estimate,
    hopeless,
    interval,
    moderated,
    power_law,
    resamples,
    student_t,
    vertex,
)

EXPONENTS = st.floats(-3, 3)


@pytest.mark.parametrize("freedom", range(1, 21))
def test_students_t_is_scipys_to_two_decimals(freedom: int) -> None:
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.006)


@given(EXPONENTS, EXPONENTS, st.floats(0.1, 10))
def test_an_exact_power_law_is_found(width: float, depth: float, constant: float) -> None:
    sizes = np.array([[w, d] for w in (32, 64, 256) for d in (2, 8)], dtype=float)
    values = constant * sizes[:, 0] ** width * sizes[:, 1] ** depth
    fit = power_law(sizes, values)
    assert fit.exponents == pytest.approx((width, depth), abs=1e-9)
    assert fit.constant == pytest.approx(constant, rel=1e-8)
    assert fit.freedom == 3 and max(fit.errors) < 1e-9


def test_the_error_of_an_exponent_is_linear_regressions() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([16.0, 32, 64, 128, 256])
    values = sizes**-0.5 * np.exp(0.1 * rng.standard_normal(5))
    fit, line = power_law(sizes, values), stats.linregress(np.log(sizes), np.log(values))
    assert fit.exponents[0] == pytest.approx(line.slope)
    assert fit.errors[0] == pytest.approx(line.stderr)
    assert fit.half_interval() == pytest.approx(line.stderr * student_t(3))


def test_two_points_leave_the_interval_open() -> None:
    fit = power_law(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    assert fit.exponents[0] == pytest.approx(2) and math.isinf(fit.half_interval())


@given(st.floats(-1.9, 1.9), st.floats(0.1, 10), st.floats(-5, 5))
def test_the_vertex_of_a_parabola_is_exact(best: float, scale: float, height: float) -> None:
    grid = np.arange(-3.0, 4.0)
    losses = scale * (grid - best) ** 2 + height
    assert vertex(grid, losses) == pytest.approx(best, abs=1e-9)


def test_a_diverged_neighbour_moves_the_vertex_away_from_it() -> None:
    grid = np.arange(3.0)
    assert vertex(grid, np.array([2.0, 1.0, math.inf])) == 0.5
    assert vertex(grid, np.array([math.inf, 1.0, 2.0])) == 1.5
    assert vertex(grid, np.array([math.inf, 1.0, math.inf])) == 1.0


def test_the_edge_of_a_grid_is_named() -> None:
    assert edge(np.array([1.0, 2.0, 3.0])) == "low"
    assert edge(np.array([3.0, 2.0, 1.0])) == "high"
    assert edge(np.array([3.0, 1.0, math.inf])) is None
    assert edge(np.full(3, math.inf)) == "low"


@given(arrays(np.float64, 4, elements=st.floats(-1e3, 1e3)))
def test_bootstrap_intervals_hold_the_estimate(values: np.ndarray) -> None:
    means = values[resamples(4)].mean(1)
    found = estimate(float(values.mean()), means)
    low, high = interval(means)
    assert found.low <= found.value <= found.high
    assert found.low <= low and high <= found.high


def test_resamples_are_the_same_on_every_call() -> None:
    assert (resamples(3) == resamples(3)).all() and resamples(3).shape == (1000, 3)


def test_divergence_is_seen_at_its_first_step() -> None:
    losses = np.array(
        [[1.0, 2.0, 3.0], [1.0, math.nan, 1.0], [1.0, HOPELESS + 1, 1.0], [1.0, 1.0, math.inf]]
    )
    assert diverged_at(losses) == [None, 1, 1, 2]


def test_a_first_loss_of_zero_has_no_scale() -> None:
    assert not hopeless(np.array(0.0), np.array(5.0))
    assert hopeless(np.array(-1.0), np.array(99.0))
    assert not hopeless(np.array(-1.0), np.array(97.0))


def test_moderated_variances_are_those_of_smyth() -> None:
    """With true variances from the prior, intervals with d0 + d degrees of freedom cover 95%."""
    random = np.random.default_rng(0)
    d0, d, count = 4.0, 3, 4000
    true = 1e4 * d0 / random.chisquare(d0, count)
    measured = true * random.chisquare(d, count) / d
    moderate = moderated(list(measured), [d] * count)
    freedoms = {round(freedom, 6) for _, freedom in moderate}
    assert len(freedoms) == 1 and freedoms.pop() == pytest.approx(d0 + d, rel=0.15)
    means = random.standard_normal(count) * np.sqrt(true)
    halves = [math.sqrt(variance) * student_t(freedom) for variance, freedom in moderate]
    assert np.mean(np.abs(means) < halves) == pytest.approx(0.95, abs=0.01)


def test_a_few_variances_and_those_without_freedom_are_left_alone() -> None:
    assert moderated([1.0, 2.0], [1, 1]) == [(1.0, 1), (2.0, 1)]
    assert moderated([1.0, 2.0, 3.0, 4.0, math.inf], [1, 1, 1, 1, 0])[-1] == (math.inf, 0)
