"""Gaps between loss curves: the law of finite size, octaves of training, and noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.statistics import curve_gaps

SIZES = np.array([32.0, 64.0, 128.0, 256.0])
STEPS = (np.arange(50) + 0.5) / 50
"""Middles of the pieces of training that a point is the mean of."""


def curves(ahead: np.ndarray, steps: np.ndarray = STEPS) -> np.ndarray:
    """Return losses of networks that are ahead in training by so many octaves, (1, sizes, steps).

    Their losses fall as a power of training from the first step on.
    """
    losses: np.ndarray = 2.0 * (steps[None, None] / steps[0] * 2.0 ** ahead[None, :, None]) ** -0.8
    return losses


def test_the_law_of_finite_size_leaves_no_gap() -> None:
    gaps = curve_gaps(curves(-2.0 * 32 / SIZES), SIZES)
    assert np.abs(gaps.octaves).max() < 1e-9
    assert gaps.p_value == 1


def test_another_power_of_size_leaves_no_gap_if_it_is_given() -> None:
    losses = curves(-2.0 * (32 / SIZES) ** 0.5)
    assert np.abs(curve_gaps(losses, SIZES, power=0.5).octaves).max() < 1e-9
    assert np.abs(curve_gaps(losses, SIZES).octaves).max() > 0.1


def test_a_gap_is_measured_in_octaves_of_training() -> None:
    """The curve falls alike everywhere, so that a shift of training is known everywhere."""
    ahead = np.array([0.0, 0.0, 0.0, 1.5])
    gaps = curve_gaps(curves(ahead), SIZES)
    # Logarithms are averaged over windows, which is not exactly their value at the middle.
    assert gaps.octaves[-1] == pytest.approx(np.full(len(gaps.ends), 1.5), rel=0.05)
    assert gaps.clearest[0] == 2


def test_a_drift_with_every_doubling_is_seen() -> None:
    gaps = curve_gaps(curves(np.log2(SIZES)), SIZES)
    assert gaps.p_value < 0.05 and (gaps.octaves[-1] > 0.6).all()


def test_the_smallest_size_is_not_foretold() -> None:
    gaps = curve_gaps(curves(np.zeros(4)), SIZES)
    assert gaps.octaves.shape == (3, len(gaps.ends))


def test_late_differences_do_not_count() -> None:
    """Each size fits the data as well as it can; curves that fell alike are alike."""
    losses = curves(np.zeros(4))
    late = losses * np.where(STEPS > 0.5, 2.0 ** -np.arange(4.0)[:, None], 1.0)
    gaps = curve_gaps(late, SIZES)
    assert gaps.ends[-1] < 0.5
    assert np.abs(gaps.octaves).max() < 1e-9
    # They forbid "alike" all the same, where they are large.
    assert gaps.bound > curve_gaps(losses, SIZES).bound + 0.3


@settings(max_examples=30)
@given(
    scale=st.floats(0.01, 100),
    unit=st.floats(0.1, 10),
    seed=st.integers(0, 1000),
)
def test_units_of_loss_and_size_do_not_matter(scale: float, unit: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    losses = curves(random.standard_normal(4)) * np.exp(0.1 * random.standard_normal((1, 4, 50)))
    one, other = curve_gaps(losses, SIZES), curve_gaps(scale * losses, unit * SIZES)
    assert other.octaves == pytest.approx(one.octaves, abs=1e-6)
    assert other.errors == pytest.approx(one.errors, rel=1e-6)
    assert other.p_value == pytest.approx(one.p_value, abs=0.02)


def test_noise_of_shared_batches_cancels() -> None:
    random = np.random.default_rng(0)
    losses = curves(np.zeros(4))
    shared = np.exp(0.3 * random.standard_normal(50))
    assert curve_gaps(losses * shared, SIZES).octaves == pytest.approx(0, abs=1e-9)
    own = np.exp(0.3 * random.standard_normal((1, 4, 50)))
    assert curve_gaps(losses * own, SIZES).noise > 1.5 * curve_gaps(losses, SIZES).noise


def test_several_seeds_measure_the_noise() -> None:
    random = np.random.default_rng(1)

    def noise(pace: float, seeds: int) -> float:
        each = [curves(pace * random.standard_normal(4)) for _ in range(seeds)]
        return curve_gaps(np.concatenate(each), SIZES).noise

    stated = noise(0.0, 1)
    assert noise(0.0, 12) < 0.6 * stated < 2 * stated < noise(0.6, 12)
    assert noise(0.6, 200) == pytest.approx(0.6, rel=0.15)


def test_a_flat_curve_has_no_fall() -> None:
    random = np.random.default_rng(2)
    losses = np.exp(0.01 * random.standard_normal((1, 4, 50)))
    assert curve_gaps(losses, SIZES).fall < 0.05


@pytest.mark.parametrize("pace", [0.0, 0.15])
def test_false_alarms_are_rare(pace: float) -> None:
    """Finite-size effects, noise along curves, a pace of each run's own; no drift."""
    random, alarms, count = np.random.default_rng(3), 0, 100
    for _ in range(count):
        ahead = -random.uniform(0, 2) * 32 / SIZES + pace * random.standard_normal(4)
        fluctuation = np.exp(0.1 * random.standard_normal((1, 4, 50)))
        alarms += curve_gaps(curves(ahead) * fluctuation, SIZES).p_value <= 0.05
    assert alarms <= 0.05 * count
