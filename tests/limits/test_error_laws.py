"""Laws of the errors of finite networks, on curves with known constants."""

import math
from typing import Any

import numpy as np
import pytest

from mutransfer.limits import ErrorFit, errors_against, errors_against_fit, fit_errors

WIDTHS = (16, 32, 64, 128)


class Planted:
    """Curves limit + bias / N + far / L + noise N^-1/2.

    Every part has the rms over points that its argument gives.
    """

    def __init__(
        self,
        seed: int,
        *,
        bias: float,
        noise: float = 1.0,
        far: float = 0.0,
        seeds: int = 16,
        points: int = 12,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = (2,),
    ) -> None:
        draw = np.random.default_rng(seed)
        shape = np.sin(np.arange(points)) + 1.2
        shape /= np.sqrt(np.mean(shape**2))
        self.limit = np.linspace(2, 4, points)
        self.known = {depth: self.limit + far * shape[::-1] / depth for depth in depths}
        self.curves = {
            (width, depth): self.known[depth]
            + bias * shape / width
            + noise * draw.standard_normal((seeds, points)) * width**-0.5
            for width in widths
            for depth in depths
        }
        self.exact = {depth: np.zeros(1) for depth in depths}

    def fits(self, how: str, samples: int = 400) -> dict[str, ErrorFit]:
        known = errors_against(self.known, self.exact)
        estimator = known if how == "against" else errors_against_fit
        return fit_errors(self.curves, estimator, samples=samples)


HOW = pytest.mark.parametrize("how", ["against", "extrapolated"])


@HOW
def test_powers_and_constants_are_recovered(how: str) -> None:
    planted = Planted(1, bias=6.0, noise=0.5, seeds=64)
    found = planted.fits(how)
    one, mean = found["one network"], found["mean over networks"]
    assert mean.slope is not None and one.slope is not None
    assert mean.constant.low < 6.0 < mean.constant.high
    assert mean.constant.value == pytest.approx(6.0, rel=0.07)
    assert mean.slope.value == pytest.approx(-1, abs=0.1)
    assert mean.slope.low < -0.95 and mean.slope.high > -1.05
    # One network is off by noise and bias: N MSE = 0.5^2 + 6^2 / N.
    total = math.sqrt(0.25 + float(np.mean([36 / width for width in WIDTHS])))
    assert one.constant.value == pytest.approx(total, rel=0.07)
    expected = [math.sqrt(0.25 / n + 36 / n**2) for n in WIDTHS]
    np.testing.assert_allclose(one.errors, expected, rtol=0.12)


@HOW
def test_without_bias_the_mean_over_networks_is_within_noise(how: str) -> None:
    found = Planted(2, bias=0.0, seeds=64).fits(how)
    one, mean = found["one network"], found["mean over networks"]
    assert one.slope is not None
    assert one.slope.value == pytest.approx(-0.5, abs=0.05)
    assert one.slope.low < one.slope.value < one.slope.high
    assert one.constant.low < 1 < one.constant.high
    assert mean.slope is None and mean.constant.low == 0 and mean.constant.high < 1.2


def test_noise_is_subtracted_from_the_bias() -> None:
    """Squares of the mean over few noisy networks are several times too large with it.

    Those of resampled networks have twice as much.
    """
    raw, clean, again = [], [], []
    for seed in range(40):
        planted = Planted(seed, bias=2.0, seeds=8, points=6)
        estimate = errors_against(planted.known, planted.exact)
        clean.append(estimate(planted.curves, False).bias)
        means = np.array([curves.mean(0) for curves in planted.curves.values()])
        raw.append(np.mean((means - planted.known[2]) ** 2, axis=1))
        rows = np.random.default_rng(seed).integers(8, size=8)
        resampled = {cell: curves[rows] for cell, curves in planted.curves.items()}
        again.append(estimate(resampled, True).bias)
    truth = 4.0 / np.array(WIDTHS) ** 2
    for squares in (np.array(clean), np.array(again)):
        error = squares.std(0, ddof=1) / math.sqrt(40)
        assert (np.abs(squares.mean(0) - truth) < 4 * error).all()
    assert (np.mean(raw, axis=0)[1:] > truth[1:] + 0.1 / np.array(WIDTHS[1:])).all()


@pytest.mark.parametrize("bias", [0.0, 4.0], ids=["no bias", "bias"])
@pytest.mark.parametrize("resampled", [False, True], ids=["as drawn", "resampled"])
def test_squares_against_a_fitted_limit_are_unbiased(bias: float, resampled: bool) -> None:
    """With few networks the fitted limit bends towards widths that happen to be off.

    Squares against it are right at every width all the same.
    """
    single, mean = [], []
    for seed in range(300):
        cells: Any = Planted(seed, bias=bias, seeds=4, points=12, widths=(16, 32, 64)).curves
        if resampled:
            rows = np.random.default_rng(seed)
            cells = {cell: curves[rows.integers(4, size=4)] for cell, curves in cells.items()}
        squares = errors_against_fit(cells, resampled)
        single.append(squares.single)
        mean.append(squares.bias)
    width = np.array([16, 32, 64])
    off = bias**2 / width**2
    for errors, truth in ((np.array(mean), off), (np.array(single), off + 1 / width)):
        assert (np.abs(errors.mean(0) - truth) < 4 * errors.std(0, ddof=1) / 300**0.5).all()


@HOW
def test_intervals_cover_the_truth_as_often_as_they_should(how: str) -> None:
    covered, one = [], math.sqrt(1 + 2.25 * np.mean([1 / 16, 1 / 64]))
    truths = {"one network": one, "mean over networks": 1.5}
    for seed in range(100):
        found = Planted(seed, bias=1.5, points=6, widths=(16, 64)).fits(how, samples=40)
        constants = {name: found[name].constant for name in truths}
        covered.append(
            [constants[name].low <= truth <= constants[name].high for name, truth in truths.items()]
        )
    share = np.mean(covered, axis=0)
    assert (share >= 0.85).all()
    assert share[0] < 1.0


def test_the_laws_of_width_and_depth_are_fitted_together() -> None:
    planted = Planted(3, bias=2.0, far=0.8, depths=(2, 4, 8), seeds=32)
    found = planted.fits("extrapolated")
    assert found["depth"].constant.low < 0.8 < found["depth"].constant.high
    assert found["depth"].constant.value == pytest.approx(0.8, rel=0.1)
    mean = found["mean over networks"].constant
    assert mean.low < 2.0 < mean.high
    assert "depth" not in planted.fits("against")


@pytest.mark.parametrize("far", [0.0, 3.0], ids=["one depth", "depths"])
def test_the_extrapolated_limit_is_the_true_one(far: float) -> None:
    """Without noise both ways are exact, so that they agree."""
    planted = Planted(0, bias=3.0, noise=0.0, far=far, depths=(2, 4, 8) if far else (2,))
    known = errors_against(planted.known, planted.exact)(planted.curves, False)
    found = errors_against_fit(planted.curves, False)
    np.testing.assert_allclose(found.bias, 9.0 / np.array(WIDTHS) ** 2, rtol=1e-9)
    np.testing.assert_allclose([found.bias, found.single], [known.bias, known.single], rtol=1e-9)
    assert [found.mean, known.mean] == pytest.approx([9.0, 9.0])
    assert found.depth == pytest.approx(far**2) if far else math.isnan(found.depth)


def test_both_ways_agree_within_their_intervals() -> None:
    planted = Planted(5, bias=3.0, seeds=64)
    known, found = planted.fits("against"), planted.fits("extrapolated")
    constant = known["one network"].constant.value
    assert found["one network"].constant.value == pytest.approx(constant, rel=0.03)
    for name in known:
        one, other = known[name].constant, found[name].constant
        assert max(one.low, other.low) < min(one.high, other.high)


def test_the_uncertainty_of_the_limit_is_subtracted() -> None:
    """A limit with a standard error of 0.05 adds its square to all errors against it."""
    found = []
    for seed in range(30):
        planted = Planted(seed, bias=0.0, noise=0.2)
        off = {2: planted.known[2] + 0.05 * np.random.default_rng(seed).standard_normal(12)}
        found.append(errors_against(off, {2: np.full(12, 0.05)})(planted.curves, False).bias)
    error = np.std(found, axis=0, ddof=1) / math.sqrt(30)
    assert (np.abs(np.mean(found, axis=0)) < 4 * error).all()
    assert (error < 0.05**2 / 4).all()


@HOW
def test_the_order_of_sizes_does_not_matter(how: str) -> None:
    planted = Planted(4, bias=2.0, far=0.5, depths=(2, 4))
    forth = planted.fits(how)
    planted.curves = dict(reversed(planted.curves.items()))
    back = planted.fits(how)
    for name in forth:
        assert back[name].errors == pytest.approx(forth[name].errors)
        assert back[name].constant.value == pytest.approx(forth[name].constant.value)
