"""The Bayesian average of laws of an optimum across sizes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.statistics import AxisPrior, LawAverage, LawPrior, average_of_laws

Array = np.ndarray[Any, np.dtype[np.float64]]
PRIOR = LawPrior(axes=(AxisPrior(),))
Z = np.arange(6.0, 11.0)
AHEAD = np.array([[11.0], [12.0], [13.0]])


def fit(places: Array, error: float = 1e-3, prior: LawPrior = PRIOR, z: Array = Z) -> LawAverage:
    return average_of_laws(z.reshape(len(places), -1), places, np.full(len(places), error), prior)


@pytest.mark.parametrize("slope", [-1.5, -0.5, 0.0, 0.3])
def test_lines_without_noise_are_extended_exactly(slope: float) -> None:
    law = fit(slope * Z - 7)
    assert law.slopes[0].value == pytest.approx(slope, abs=2e-3)
    found = law.predict(AHEAD)
    assert found.mean == pytest.approx(slope * AHEAD[:, 0] - 7, abs=0.02)
    assert (found.high - found.low < 0.5).all()
    expected = "constant" if slope == 0 else "linear"
    assert max(law.shares[0], key=lambda name: law.shares[0][name]) == expected
    assert not law.curved[0]


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_limit_that_is_approached_is_found(power: float) -> None:
    law = fit(2.0 ** (-power * (Z - 6)) - 7)
    found = law.predict(AHEAD)
    assert found.mean == pytest.approx(2.0 ** (-power * (AHEAD[:, 0] - 6)) - 7, abs=0.05)
    assert law.shares[0]["saturating"] > 0.8 and law.curved[0]
    assert law.bends[0].low > 0


def test_a_parabola_is_found() -> None:
    law = fit(-0.1 * (Z - 8) ** 2)
    assert law.predict(AHEAD).mean == pytest.approx(-0.1 * (AHEAD[:, 0] - 8) ** 2, abs=0.1)
    assert law.curved[0] and law.bends[0].high < 0


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    up=st.floats(-30, 30),
    unit=st.floats(-20, 20),
    error=st.floats(0.01, 0.3),
)
def test_shifts_of_places_and_units_of_sizes(
    seed: int, up: float, unit: float, error: float
) -> None:
    """A size in thousands is the same size."""
    places = np.random.default_rng(seed).normal(0, 0.4, len(Z)) - 0.2 * Z
    one, other = fit(places, error), fit(places + up, error, z=Z + unit)
    assert other.slopes[0].value == pytest.approx(one.slopes[0].value, abs=1e-6)
    assert other.scatter == one.scatter
    near, far = one.predict(AHEAD), other.predict(AHEAD + unit)
    for name in ("mean", "low", "high"):
        assert getattr(far, name) == pytest.approx(getattr(near, name) + up, abs=1e-4)


def test_several_axes_have_their_own_slopes() -> None:
    grid = np.stack(np.meshgrid(np.arange(3.0), np.arange(4.0)), -1).reshape(-1, 2)
    prior = LawPrior(axes=(AxisPrior(), AxisPrior()), products={(0, 1): (0.0, 0.05)})
    law = fit(grid @ [-0.5, 0.1], 0.02, prior, grid)
    assert [slope.value for slope in law.slopes] == pytest.approx([-0.5, 0.1], abs=0.03)
    assert law.informed == law.separate == (True, True)
    found = law.predict(np.array([[4.0, 4.0]]))
    assert found.mean[0] == pytest.approx(-1.5, abs=0.15)
    assert found.low[0] < -1.6 < found.high[0] and found.high[0] - found.low[0] < 2.5


def test_the_product_of_axes_is_found() -> None:
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2)
    prior = LawPrior(axes=(AxisPrior(), AxisPrior()), products={(0, 1): (0.0, 0.2)})
    places = 0.3 * (grid[:, 0] - 1.5) * (grid[:, 1] - 1.5)
    with_product = fit(places, 0.05, prior, grid).predict(np.array([[4.0, 4.0]]))
    assert with_product.mean[0] == pytest.approx(0.3 * 2.5**2, abs=0.3)


def test_a_knee_is_found_where_it_may_be() -> None:
    """A batch beyond the critical one no longer helps; without the law it is extrapolated."""
    z = np.arange(-4.0, 5.0)
    places = -np.logaddexp2(0, -2 * z) / 2 * 0.7
    prior = LawPrior(axes=(AxisPrior(slope=0.3, spread=0.3),), knees={0: ((0.0,),)})
    law = fit(places, 0.05, prior, z)
    assert law.shares[0]["knee"] > 0.9
    assert law.predict(np.array([[7.0]])).mean[0] == pytest.approx(0, abs=0.1)
    plain = fit(places, 0.05, LawPrior(axes=prior.axes), z)
    assert plain.shares[0]["knee"] == 0


def test_one_size_has_the_interval_of_the_prior() -> None:
    prior = LawPrior(axes=(AxisPrior(slope=-0.4, spread=0.4, tail=0.0),))
    law = fit(np.array([-8.0, -8.1]), 0.05, prior, np.array([20.0, 20.0]))
    assert law.informed == (False,)
    slope = law.slopes[0]
    assert (slope.value, slope.low, slope.high) == pytest.approx((-0.4, -1.184, 0.384), abs=1e-3)
    found = law.predict(np.array([[21.0]]))
    assert found.mean[0] == pytest.approx(-8.45, abs=0.02) and found.sd[0] > 0.4
    assert law.within() == "cannot tell" and not law.curved[0]


def test_axes_that_vary_together_are_flagged() -> None:
    """Their sum is known, the difference is the prior's."""
    together = np.stack([Z, Z, np.array([0.0, 1, 0, 1, 0])], axis=1)
    axes = (AxisPrior(slope=-0.4, spread=0.2, tail=0.0), AxisPrior(tail=0.0), AxisPrior())
    law = fit(-0.6 * Z, 0.02, LawPrior(axes=axes), together)
    assert law.separate == (False, False, True) and all(law.informed)
    one, other, _ = law.slopes
    assert one.value + other.value == pytest.approx(-0.6, abs=0.05)
    assert one.high - one.low > 0.4


@pytest.mark.parametrize(
    ("slope", "error", "expected"),
    [(0.0, 0.02, "within"), (-0.5, 0.02, "beyond"), (0.08, 0.15, "cannot tell")],
)
def test_equivalence_of_slopes(slope: float, error: float, expected: str) -> None:
    law = fit(slope * Z, error)
    assert law.within(bound=0.1) == expected
    assert law.differs() == (expected == "beyond")


def test_draws_have_the_distribution_of_predictions() -> None:
    law = fit(np.array([-7.0, -7.3, -7.2, -7.6, -7.7]), 0.1)
    found, draws = law.predict(AHEAD), law.draws(AHEAD, 20_000)
    assert draws.mean(0) == pytest.approx(found.mean, abs=0.03)
    assert draws.std(0) == pytest.approx(found.sd, rel=0.05)
    outside = (draws < found.low) | (draws > found.high)
    assert outside.mean(0) == pytest.approx(0.05, abs=0.012)
    assert np.corrcoef(draws.T)[0, 1] > 0.7
    assert (law.draws(AHEAD, 5) == law.draws(AHEAD, 5)).all()


@pytest.mark.parametrize("scatter", [0.0, 0.3])
def test_the_scatter_of_sizes_is_estimated(scatter: float) -> None:
    z = np.arange(24.0) / 4
    effects = np.random.default_rng(1).standard_normal(len(z))
    places = scatter * effects / effects.std()
    law = fit(places, 0.02, PRIOR, z)
    assert law.scatter.low <= scatter <= law.scatter.high
    assert law.scatter.high < 0.7
    assert (law.predict(np.array([[7.0]])).sd[0] > 0.3) == (scatter > 0)


@pytest.mark.parametrize(
    ("sizes", "places", "errors", "message"),
    [
        (np.zeros((0, 1)), np.zeros(0), np.zeros(0), "give a row of 1 log2 sizes"),
        (np.zeros((2, 2)), np.zeros(2), np.zeros(2), "give a row of 1 log2 sizes"),
        (np.zeros((2, 1)), np.zeros(3), np.zeros(3), "give one of each for every size"),
        (np.zeros((2, 1)), np.array([0, np.nan]), np.zeros(2), "must be finite"),
        (np.zeros((2, 1)), np.zeros(2), np.array([1.0, -1]), "errors not negative"),
    ],
)
def test_bad_input_is_one_sentence(
    sizes: Array, places: Array, errors: Array, message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        average_of_laws(sizes, places, errors, PRIOR)
