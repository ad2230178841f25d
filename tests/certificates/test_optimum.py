"""The best rate of one size."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from mutransfer import MutransferError, Size
from mutransfer.certificates import optimum

INF = np.inf
SIZE = Size(width=32, depth=2)
RATES = [2.0**power for power in range(-4, 1)]


def test_the_interval_has_the_seeds_in_it() -> None:
    centres = np.array([-2.5, -2.0, -1.5])
    losses = (np.log2(RATES) - centres[:, None]) ** 2
    best, found = optimum("sp", SIZE, RATES, losses)
    alike, _ = optimum("sp", SIZE, RATES, np.tile(losses.mean(0), (3, 1)))
    assert best.log2_lr == pytest.approx(-2, abs=0.1) == found.position
    assert best.loss == pytest.approx(np.mean((centres + 2) ** 2))
    assert best.low < -2.3 and best.high > -1.7
    assert alike.high - alike.low < best.high - best.low
    assert (best.size, best.diverged, best.status) == (SIZE, 0, "inside")


def test_equal_seeds_have_the_interval_of_the_misfit() -> None:
    """Between the values that were run the curve is not known."""
    best, _ = optimum("sp", SIZE, RATES, np.tile((np.log2(RATES) + 1.75) ** 2, (3, 1)))
    assert best.low < -1.75 < best.high and 0.1 < best.high - best.low < 1.2


def test_the_share_of_diverged_runs_is_counted() -> None:
    losses = np.array([[3, 2, 1, 2, INF], [3, 2, 1, INF, INF]])
    best, _ = optimum("sp", SIZE, RATES, losses)
    assert best.diverged == 0.3 and -3 < best.log2_lr < -1


def test_losses_that_differ_by_their_noise_alone_are_flat() -> None:
    losses = 2 + 0.01 * np.random.default_rng(0).standard_normal((3, 5))
    best, _ = optimum("sp", SIZE, RATES, losses)
    assert best.status == "flat" and best.high - best.low > 3


LOW_EDGE = "the lowest loss is at the edge of the grid, 2^-4"
HIGH_EDGE = "the lowest loss is at the edge of the grid, 2^0"


@pytest.mark.parametrize(
    ("losses", "fault", "direction"),
    [
        ([1, 2, 3, 4, 5], LOW_EDGE, "below"),
        ([5, 4, 3, 2, 1], HIGH_EDGE, "above"),
        ([1, 2, INF, INF, INF], LOW_EDGE, "below"),
        ([INF] * 5, "every rate diverged", "below"),
    ],
)
def test_an_optimum_at_the_edge_is_refused_with_advice(
    losses: Sequence[float], fault: str, direction: str
) -> None:
    sentence = (
        f"rule 'sp' at width 32, depth 2: {fault}, so the optimum is not bracketed; "
        f"add rates {direction} it (`mutransfer sweep ... --extend 4` does)"
    )
    with pytest.raises(MutransferError, match=re.escape(sentence)):
        optimum("sp", SIZE, RATES, np.array([losses]))


def test_two_rates_are_too_few() -> None:
    sentence = "rule 'sp' at width 32, depth 2 was run at 2 rates: an optimum needs at least 3"
    with pytest.raises(MutransferError, match=sentence):
        optimum("sp", SIZE, RATES[:2], np.array([[1.0, 2.0]]))
    with pytest.raises(MutransferError, match="was run at one rate: an optimum needs"):
        optimum("sp", SIZE, RATES[:1], np.array([[1.0]]))


@pytest.mark.parametrize("bad", [np.nan, -INF])
def test_a_loss_that_is_no_number_has_diverged(bad: float) -> None:
    losses = np.array([[3, 2, 1, 2, INF], [3, 2, 1, INF, INF]])
    expected = optimum("sp", SIZE, RATES, losses)
    best, found = optimum("sp", SIZE, RATES, np.where(np.isinf(losses), bad, losses))
    assert best == expected[0] and np.array_equal(found.optima, expected[1].optima)
    with pytest.raises(MutransferError, match="every rate diverged"):
        optimum("sp", SIZE, RATES, np.full((2, 5), bad))


@pytest.mark.parametrize("noise", [0, 1e-5])
def test_a_rate_without_effect_has_no_optimum(noise: float) -> None:
    """Neither at the edge nor inside the grid, whatever weight decay or rounding add."""
    for order in ([0, 1, 2, 3, 4], [1, 2, 0, 3, 4]):
        losses = 2.3 * (1 + noise * np.array([order, order]))
        with pytest.raises(MutransferError, match="is the same at every rate, so the rate has no"):
            optimum("sp", SIZE, RATES, losses)


def test_an_effect_of_a_thousandth_is_one() -> None:
    losses = 2.3 + 1e-3 * (np.log2(RATES) + 2) ** 2
    assert optimum("sp", SIZE, RATES, losses[None])[0].log2_lr == pytest.approx(-2, abs=0.1)


@pytest.mark.parametrize("offset", [-1e5, 1e5, 1e6])
def test_an_offset_of_the_loss_hides_no_optimum(offset: float) -> None:
    losses = offset + (np.log2(RATES) + 2) ** 2
    assert optimum("sp", SIZE, RATES, losses[None])[0].log2_lr == pytest.approx(-2, abs=0.1)
    with pytest.raises(MutransferError, match="is the same at every rate, so the rate has no"):
        optimum("sp", SIZE, RATES, np.float32(offset) * (1 + 6e-8 * np.array([[1, 0, 0, 1, 0]])))


def test_rates_that_hardly_differ_have_no_optimum() -> None:
    """As where rates are read as their logarithms."""
    rates = [2.0**rate for rate in (0.001, 0.01, 0.02, 0.06)]
    with pytest.raises(
        MutransferError, match=r"all rates lie within 0\.059 octaves, .* logarithms"
    ):
        optimum("sp", SIZE, rates, np.array([[3.0, 2.0, 1.0, 2.0]]))
    close = [2.0**power for power in (-2.2, -2.1, -2.0, -1.9)]
    assert optimum("sp", SIZE, close, np.array([[3.0, 2.0, 1.0, 2.0]]))[0].status == "edge"
