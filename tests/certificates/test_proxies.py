"""The smallest proxy that would have been enough, against regrets that are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.certificates._proxy import Proxies, proxies, regret_draws, regret_of
from mutransfer.core import Size
from mutransfer.statistics import posterior

SIZES = [Size(width=width) for width in (32, 64, 128, 256)]
DRAWS = 400


def parabola(distances: np.ndarray) -> np.ndarray:
    """Excess of curves with curvatures about 0.04, the same in every run of the tests."""
    curvature = 0.04 * np.exp(0.1 * np.random.default_rng(1).standard_normal(DRAWS))
    return np.asarray(curvature[:, None] * np.asarray(distances) ** 2)


def drifting(sd: float = 0.05, slope: float = -0.5) -> np.ndarray:
    """Draws of optima that move by `slope` octaves per doubling."""
    noise = sd * np.random.default_rng(0).standard_normal((DRAWS, 4))
    return np.asarray(-8 + slope * np.arange(4) + noise)


def test_the_regret_is_the_excess_at_the_distance() -> None:
    found = proxies(SIZES, drifting(), parabola)
    assert found.sizes == tuple(SIZES[:3]) and found.target == SIZES[3]
    for regret, distance in zip(found.regrets, (1.5, 1.0, 0.5), strict=True):
        assert regret.low < 0.04 * distance**2 < regret.high
        assert regret.value == pytest.approx(0.04 * distance**2, rel=0.1)


def test_the_smallest_proxy_is_that_whose_upper_end_keeps_within() -> None:
    found = proxies(SIZES, drifting(), parabola)
    assert [found.smallest(within) for within in (0.2, 0.07, 0.02, 0.005)] == [*SIZES[:3], None]
    assert "tuning at width 64 would have been enough" in found.reason(0.07)
    assert "its optimum is elsewhere" in found.reason(0.005)


def test_a_value_within_is_not_enough_where_its_interval_is_not() -> None:
    found = proxies(SIZES, drifting(sd=0.5, slope=0.0), parabola)
    assert max(regret.value for regret in found.regrets) < 0.03
    assert found.smallest(0.03) is None and "too few to be sure" in found.reason(0.03)


def test_a_law_that_predicts_makes_smaller_proxies_enough() -> None:
    """A planted fault beside it: a law of the wrong sign makes none."""
    optima = drifting()
    right = {SIZES[1]: optima[:, 1] - 1.0, SIZES[2]: optima[:, 2] - 0.5}
    wrong = {size: draws + 2.0 for size, draws in right.items()}
    assert proxies(SIZES, optima, parabola).smallest(0.005) is None
    assert proxies(SIZES, optima, parabola, right).smallest(0.005) == SIZES[1]
    assert proxies(SIZES, optima, parabola, wrong).smallest(0.005) is None
    assert "by the drift" in str(proxies(SIZES, optima, parabola, right))


def test_a_cliff_makes_the_regret_infinite() -> None:
    def cliff(distances: np.ndarray) -> np.ndarray:
        return np.where(np.asarray(distances) > 1.2, np.inf, parabola(distances))

    found = proxies(SIZES, drifting(), cliff)
    assert found.regrets[0].value == math.inf and found.regrets[2].high < math.inf
    assert found.smallest(10.0) == SIZES[1]


def test_each_draw_of_the_curve_meets_its_own_distance() -> None:
    distances = np.linspace(-1, 1, DRAWS)
    expected = np.diagonal(parabola(distances))
    assert np.array_equal(regret_draws(distances, parabola), expected)


def test_nan_counts_as_diverged() -> None:
    assert regret_of(np.zeros(5), lambda d: np.full((5, len(d)), np.nan)).value == math.inf


def test_one_size_has_no_proxy() -> None:
    found = proxies(SIZES[:1], drifting()[:, :1], parabola)
    assert found.smallest(1.0) is None and "no size below" in found.reason(1.0)


@given(st.floats(1e-4, 1.0), st.floats(1e-4, 1.0))
def test_more_regret_allows_smaller_proxies(one: float, other: float) -> None:
    found = proxies(SIZES, drifting(), parabola)
    strict, loose = (found.smallest(within) for within in sorted((one, other)))
    assert strict is None or (loose is not None and loose <= strict)


def test_proxies_travel_as_data() -> None:
    found = proxies(SIZES, drifting(), parabola, {SIZES[2]: drifting()[:, 3]})
    assert Proxies.from_json(found.to_json()) == found


def test_posteriors_of_noisy_sweeps_give_the_regret() -> None:
    """The whole way from losses: optima that drift by half an octave per doubling."""
    random, places = np.random.default_rng(5), np.arange(-12.0, -3.0)
    found = []
    for rank in range(4):
        clean = 2 + 0.04 * (places + 8 - 0.5 * rank) ** 2
        found.append(posterior(places, clean + 0.005 * random.standard_normal((5, 9))))
    optima = np.stack([each.optima for each in found], axis=-1)
    result = proxies(SIZES, optima, found[-1].excess)
    for regret, distance in zip(result.regrets, (1.5, 1.0, 0.5), strict=True):
        assert regret.low < 0.04 * distance**2 < regret.high
    assert result.smallest(0.08) in SIZES[1:3]
