"""The feature diversity exponent of paths in depth that are known."""

import math

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.limits import feature_diversity
from mutransfer.statistics import FEWEST_BRANCHES, Array, diversity_exponent


def power_path(exponent: float, depth: int) -> Array:
    """A path of Weierstrass: features d layers apart differ by about d^exponent, and no less."""
    random = np.random.default_rng(0)
    frequencies = 2.0 ** np.arange(-4, 14)
    phases = random.uniform(0, 2 * math.pi, (len(frequencies), 2000))
    times = np.arange(depth + 1) / depth
    waves = np.cos(2 * math.pi * frequencies[:, None, None] * times[:, None] + phases[:, None])
    return np.asarray(np.tensordot(frequencies**-exponent, waves, 1))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("depth", [100, 1000])
def test_the_exponent_is_that_of_differences_at_short_distance(exponent: float, depth: int) -> None:
    assert diversity_exponent(power_path(exponent, depth)) == pytest.approx(1 - exponent, abs=0.05)


def test_a_smooth_stream_that_returns_to_its_start_is_redundant() -> None:
    """The definition takes depth to infinity before the distance to 0.

    Over half of this depth features differ by nothing at all.
    """
    phases = np.random.default_rng(0).uniform(0, 2 * math.pi, 1000)
    stream = np.sin(4 * math.pi * np.linspace(0, 1, 513)[:, None] + phases)
    assert diversity_exponent(stream) == pytest.approx(0.0, abs=0.06)


def test_every_input_counts_alike_whatever_its_scale() -> None:
    """The norm of the definition is over coordinates, not over the batch."""
    walk = np.random.default_rng(0).standard_normal((65, 1, 4000)).cumsum(0)
    smooth = np.broadcast_to(np.linspace(0, 1, 65)[:, None, None], walk.shape)
    both = [np.concatenate([walk, scale * smooth], 1) for scale in (8.0, 512.0)]
    alone = [diversity_exponent(walk), diversity_exponent(smooth)]
    assert alone[1] == pytest.approx(0, abs=1e-9) and alone[0] == pytest.approx(0.5, abs=0.02)
    assert alone[1] < diversity_exponent(both[1]) < diversity_exponent(both[0]) < alone[0]


@pytest.mark.parametrize("depth", [2, 3, 7, 15])
def test_shallow_streams_use_distances_one_and_two(depth: int) -> None:
    stream = np.random.default_rng(0).standard_normal((depth + 1, 3, 50)).cumsum(0)
    near, far = (np.sqrt(((stream[d:] - stream[:-d]) ** 2).mean(-1)).mean() for d in (1, 2))
    assert diversity_exponent(stream) == pytest.approx(1 - math.log2(far / near))


def test_a_deep_stream_has_the_exponent_of_the_limits() -> None:
    stream = np.random.default_rng(0).standard_normal((33, 2, 40)).cumsum(0)
    assert feature_diversity(stream) == diversity_exponent(stream)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_streams_without_an_exponent_give_no_number(bad: float) -> None:
    stream = np.random.default_rng(0).standard_normal((5, 3))
    stream[2, 1] = bad
    assert math.isnan(diversity_exponent(stream))
    assert math.isnan(diversity_exponent(np.ones((5, 3))))


@pytest.mark.parametrize("shape", [(), (9,), (FEWEST_BRANCHES, 4), (5, 0)])
def test_streams_of_too_few_layers_or_coordinates_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MutransferError, match="at least 2 branches"):
        diversity_exponent(np.zeros(shape))
