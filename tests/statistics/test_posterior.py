"""The posterior of the optimum of one loss curve: laws, limits, statuses, bad input."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.core import MutransferError
from mutransfer.statistics import Array, Posterior, posterior

INF, NAN = np.inf, np.nan
PLACES = np.arange(-10.0, -5.9, 0.5)
CENTRE = -8.1


def curve(seeds: int = 3, noise: float = 0.01, stream: int = 0) -> Array:
    """Losses of a parabola with offsets of seeds and noise."""
    rng = np.random.default_rng(stream)
    losses = 2 + 0.1 * (PLACES - CENTRE) ** 2 + 0.3 * rng.standard_normal((seeds, 1))
    return np.asarray(losses + noise * rng.standard_normal((seeds, len(PLACES))))


def same(found: Posterior, other: Posterior, shift: float = 0.0) -> None:
    """Assert that two posteriors differ by a shift of the places alone."""
    np.testing.assert_allclose(found.density, other.density, atol=1e-4)
    for name in ("position", "low", "high"):
        expected = getattr(other, name) + shift
        assert getattr(found, name) == pytest.approx(expected, abs=2e-3)
    assert found.status == other.status


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-10, 10), seeds=st.integers(1, 4))
def test_scale_and_offset_of_the_loss_do_not_matter(
    factor: float, offset: float, seeds: int
) -> None:
    losses = curve(seeds)
    before, after = posterior(PLACES, losses), posterior(PLACES, factor * losses + offset)
    same(after, before)
    assert after.level == pytest.approx(factor * before.level + offset, rel=1e-2, abs=factor * 0.02)
    distances = np.array([-1.0, 0.5])
    ratio = after.excess(distances).mean(0) / before.excess(distances).mean(0)
    np.testing.assert_allclose(ratio, factor, rtol=0.05)


@settings(deadline=None, max_examples=20)
@given(shift=st.floats(-30, 30))
def test_a_shift_of_the_places_shifts_the_optimum(shift: float) -> None:
    losses = curve()
    same(posterior(PLACES + shift, losses), posterior(PLACES, losses), shift)


def test_the_order_of_the_seeds_does_not_matter() -> None:
    losses = curve(5)
    same(posterior(PLACES, losses[::-1]), posterior(PLACES, losses))


def test_offsets_of_paired_seeds_do_not_matter_to_the_interval() -> None:
    losses = curve(4)
    offsets = np.array([[5.0], [-3.0], [0.0], [-2.0]])
    same(posterior(PLACES, losses + offsets), posterior(PLACES, losses))


def test_the_unit_of_a_linear_scale_carries_through() -> None:
    losses = curve()
    octaves, linear = posterior(PLACES, losses), posterior(PLACES / 1000, losses, unit=0.001)
    assert linear.position == pytest.approx(octaves.position / 1000)
    assert linear.high - linear.low == pytest.approx((octaves.high - octaves.low) / 1000)
    near = np.array([-0.5, 1.0])
    np.testing.assert_allclose(linear.excess(near / 1000), octaves.excess(near), rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    gaps=st.lists(st.floats(0.3, 1), min_size=4, max_size=10),
    share=st.floats(0.3, 0.7),
    seeds=st.integers(2, 4),
)
def test_a_parabola_without_noise_gives_its_vertex(
    gaps: list[float], share: float, seeds: int
) -> None:
    places = np.cumsum([0.0, *gaps])
    centre = share * places[-1]
    losses = np.tile(1 + 0.1 * (places - centre) ** 2, (seeds, 1))
    found = posterior(places, losses)
    assert found.position == pytest.approx(centre, abs=0.3 * max(gaps))
    assert found.low <= centre <= found.high
    assert found.level == pytest.approx(1, abs=0.05)


def test_the_excess_of_a_parabola_is_that_of_the_parabola() -> None:
    found = posterior(PLACES, curve(5, noise=0.001))
    distances = np.array([-1.0, 0.0, 1.0])
    excess = found.excess(distances)
    assert excess.shape == (512, 3)
    assert (excess >= 0).all() and (excess[:, 1] == 0).all()
    np.testing.assert_allclose(np.median(excess, 0), [0.1, 0, 0.1], rtol=0.25)


def test_draws_agree_with_the_density() -> None:
    found = posterior(PLACES, curve())
    assert found.density.sum() == pytest.approx(1)
    assert found.optima.shape == (512,)
    assert found.optima.mean() == pytest.approx(found.position, abs=0.03)
    assert found.optima.std() == pytest.approx(found.sd, rel=0.2)
    inside = (found.places >= found.low) & (found.places <= found.high)
    assert found.density[inside].sum() == pytest.approx(0.95, abs=0.15)


@pytest.mark.parametrize("gone", [INF, NAN])
def test_two_diverged_sides_bound_the_optimum(gone: float) -> None:
    losses = np.full((2, len(PLACES)), gone)
    losses[:, 3:6] = [[1.0, 0.8, 1.1], [1.1, 0.9, 1.2]]
    found = posterior(PLACES, losses)
    assert PLACES[2] <= found.low < found.high <= PLACES[6]
    assert ((found.optima >= PLACES[2]) & (found.optima <= PLACES[6])).all()
    assert found.status == "inside"


def test_a_diverged_value_right_of_the_lowest_bounds_it() -> None:
    losses = curve()
    losses[:, 5:] = INF
    found = posterior(PLACES, losses)
    assert found.high <= PLACES[5]


def test_one_broken_run_is_no_bound() -> None:
    losses = curve(5)
    losses[2, 1] = NAN
    same_place = posterior(PLACES, curve(5)).position
    assert posterior(PLACES, losses).position == pytest.approx(same_place, abs=0.05)


def test_what_lies_beyond_divergence_is_not_compared() -> None:
    # Networks that died at a large rate return a constant loss instead of diverging.
    losses = curve()
    losses[:, 6] = INF
    losses[:, 7:] = 3.5
    assert abs(posterior(PLACES, losses).position - CENTRE) < 0.4


OCTAVES = np.arange(-4.0, 5.0)
DENSE = {
    "near the best": np.sort([*OCTAVES, -0.02, -0.01, 0.01, 0.02]),
    "tenths of an octave": np.linspace(-4, 4, 81),
    "a searcher's": np.sort([-3.6, -2.3, 1.4, 3.1, *np.linspace(-0.9, 0.9, 26) ** 3]),
}
"""Rates much closer to each other than an octave."""


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("places", DENSE)
def test_close_rates_do_not_widen_the_interval(places: str, seeds: int) -> None:
    """It is about as wide as that of octaves, and the vertex of a parabola fits both."""
    rng = np.random.default_rng(0)
    widths = []
    for x in (OCTAVES, DENSE[places]):
        losses = 3 + 0.02 * (x - 0.2) ** 2 + 0.003 * rng.standard_normal((5, seeds, len(x)))
        found = [posterior(x, one) for one in losses]
        assert all(p.status == "inside" and abs(p.position - 0.2) < 0.3 for p in found)
        widths.append(np.median([p.high - p.low for p in found]))
    assert widths[1] < 1.2 * widths[0]


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("single", [False, True])
def test_rounded_losses_of_seeds_that_agree_are_not_exact(seeds: int, single: bool) -> None:
    """Coarse rounding, a parabola of .02: seeds agree, and only the rounding is their error."""
    rng = np.random.default_rng(seeds)
    covered = []
    for optimum in rng.uniform(-0.5, 0.5, 40):
        losses = np.round(rng.uniform(2, 3) + 0.02 * (OCTAVES - optimum) ** 2, 1)
        losses = np.tile(losses.astype(np.float32) if single else losses, (seeds, 1))
        found = posterior(OCTAVES, losses)
        covered.append(found.low <= optimum <= found.high)
    assert np.mean(covered) >= 0.9


def test_a_tie_of_rounded_losses_lies_inside_the_interval() -> None:
    losses = np.tile([2.7, 2.5, 2.5, 2.4, 2.4, 2.4, 2.5, 2.6, 2.8], (3, 1))
    found = posterior(OCTAVES, losses)
    assert -1 <= found.position <= 1
    assert found.low < 0 < found.high


def test_losses_with_all_their_digits_are_as_sharp_as_ever() -> None:
    losses = np.tile(2 + 0.02 * (OCTAVES - np.pi / 10) ** 2, (3, 1))
    exact = posterior(OCTAVES, losses)
    five, two = (posterior(OCTAVES, np.round(losses, digits)) for digits in (5, 2))
    assert five.high - five.low == pytest.approx(exact.high - exact.low, rel=0.02)
    assert two.high - two.low > 1.1 * (exact.high - exact.low)


STATUSES = {
    "inside": 2 + 0.1 * (PLACES - CENTRE) ** 2,
    "edge": 2 - 0.2 * PLACES,
    "diverged": np.full(len(PLACES), INF),
    "flat": np.full(len(PLACES), 2.0),
}


@pytest.mark.parametrize("status", STATUSES)
def test_statuses(status: str) -> None:
    noise = 0.01 * np.random.default_rng(1).standard_normal((3, len(PLACES)))
    found = posterior(PLACES, STATUSES[status] + noise)
    assert found.status == status


LOW_RATES = {
    "cliff": [0.90, 0.90, 0.899, 0.897, 0.893, 0.885, 0.87, 0.84, 0.80, 1.9],
    "late cliff": [0.90, 0.90, 0.90, 0.90, 0.90, 0.90, 0.895, 0.86, 0.80, 2.5],
    "diverging": [1.0, 1.0, 1.0, 0.99, 0.98, 0.95, 0.9, 0.85, 0.84, np.inf],
    "steep": [0.62, 0.62, 0.62, 0.62, 0.61, 0.60, 0.58, 0.55, 0.56, 1.2],
}
"""Losses at rates of which the lowest hardly train, an octave apart."""


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("curve", LOW_RATES)
def test_rates_that_hardly_train_do_not_draw_the_optimum_away(curve: str, seeds: int) -> None:
    """Its interval holds a place within an octave of the lowest loss, and none far from it."""
    losses = np.array(LOW_RATES[curve])
    best = float(np.argmin(losses))
    draws = np.random.default_rng(1).standard_normal((seeds, len(losses)))
    found = posterior(np.arange(10.0), losses + 0.002 * draws)
    assert found.status == "inside" and abs(found.position - best) < 1
    assert best - 2 < found.low < best < found.high + 0.25 and found.high < best + 2.5


def test_pure_noise_is_flat_and_its_interval_wide() -> None:
    rng = np.random.default_rng(2)
    found = [posterior(PLACES, rng.standard_normal((4, len(PLACES)))) for _ in range(40)]
    assert np.mean([p.status == "flat" for p in found]) >= 0.7
    flat = [p.high - p.low for p in found if p.status == "flat"]
    assert min(flat) > 0.4 * (PLACES[-1] - PLACES[0])


def test_all_diverged_says_so_and_nothing_else() -> None:
    found = posterior(PLACES, np.full((2, len(PLACES)), NAN))
    assert found.status == "diverged"
    assert np.isnan([found.position, found.level, found.noise]).all()
    assert found.low == -INF and found.high == PLACES[0]
    assert np.isnan(found.excess(np.array([1.0]))).all()


def test_one_seed_is_widened_by_the_stated_shift() -> None:
    losses = curve(1, noise=0.002)
    widths = [p.high - p.low for p in (posterior(PLACES, losses, shift=s) for s in (0, 0.2, 0.5))]
    assert widths[0] < widths[1] < widths[2]
    assert np.isnan(posterior(PLACES, losses).noise)
    assert posterior(PLACES, losses[0]).position == posterior(PLACES, losses).position


def test_noise_is_the_sd_over_seeds_at_the_lowest_value() -> None:
    losses = curve(40)
    best = int(losses.mean(0).argmin())
    assert posterior(PLACES, losses).noise == pytest.approx(losses[:, best].std(ddof=1))


@pytest.mark.parametrize("values", [2, 3, 4])
@pytest.mark.parametrize("seeds", [1, 3])
def test_few_points_give_an_interval_that_holds_the_lowest(values: int, seeds: int) -> None:
    places = np.arange(float(values))
    losses = np.tile((places - 1.1) ** 2, (seeds, 1))
    found = posterior(places, losses)
    assert found.low <= 1.1 <= found.high


@pytest.mark.parametrize(
    ("places", "losses", "message"),
    [
        ([0, 1], [[1, 2, 3]], "shape"),
        ([1, 0, 2], [[1, 2, 3]], "ascending"),
        ([0], [[1]], "at least two"),
        ([0, NAN, 2], [[1, 2, 3]], "ascending"),
    ],
)
def test_bad_input_is_refused(
    places: Sequence[float], losses: Sequence[Sequence[float]], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        posterior(np.array(places, dtype=float), np.array(losses, dtype=float))


def test_a_unit_that_is_not_positive_is_refused() -> None:
    with pytest.raises(MutransferError, match="unit"):
        posterior(PLACES, curve(), unit=0.0)
