"""Axes of a search: the ladder of values, and how far it reaches."""

from typing import Any

import pytest

import mutransfer as mt
from mutransfer import OneAtATime
from mutransfer.core import MEMORY
from mutransfer.studies._search_axes import Axis, axes_of
from tests.studies.landscapes import landscape


def axis(beyond: float = 4.0, **values: Any) -> Axis:
    """The axis of the only hyperparameter that varies."""
    (found,) = axes_of(landscape(lambda *_: 1.0, **{"lr": 0.1} | values), beyond)
    return found


def test_rates_lie_on_eighths_of_octaves() -> None:
    rates = axis(lr=mt.log2(-8, -2))
    assert rates.value(-5.3) == 2.0**-5.25 and rates.value(-5.01) == 2.0**-5
    assert rates.ends == (-12.0, 2.0) and rates.step == 1.0 and rates.centre == 2.0**-5


def test_values_of_the_study_are_on_the_ladder() -> None:
    rates = axis(lr=[2.0**-8, 2.0**-6 * (1 + 1e-9), 2.0**-4])
    assert rates.value(-6.03) == 2.0**-6 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rates", "step"),
    [(mt.log2(-8, -2), 1.0), ([2.0 ** (k / 2) for k in range(-16, -3)], 1.0), ([1e-4, 1e-2], 2.0)],
)
def test_the_first_spacing_is_one_to_two_octaves(rates: list[float], step: float) -> None:
    assert axis(lr=rates).step == step


def test_linear_scales_count_their_own_steps() -> None:
    shares = axis(label_smoothing=[0.9, 0.92, 0.94, 0.96])
    assert shares.scale == "linear" and shares.unit == pytest.approx(0.02)
    assert shares.place(0.92) == pytest.approx(46.0) and shares.value(46.0) == 0.92
    assert shares.value(46.5) == pytest.approx(0.93)
    # One step beyond 0.98 is no share.
    low, high = (shares.value(end) for end in shares.ends)
    assert 0.98 < high < 1 and low == pytest.approx(0.82)


def test_betas_are_searched_in_octaves_of_their_memory() -> None:
    betas = axis(beta2=[0.75, 0.875, 0.96875])
    assert betas.scale == MEMORY and betas.unit == 1.0 and betas.step == 1.5
    assert betas.place(0.96875) == 5.0 and betas.value(5.02) == 0.96875
    assert betas.value(3.5) == 1 - 2**-3.5
    # No beta lies below 0, and none reaches 1.
    assert betas.ends[0] == 0.0 and betas.value(betas.ends[1]) < 1


def test_whole_numbers_stay_whole() -> None:
    steps = axis(warmup=[0, 10, 20])
    assert steps.value(0.56) == 5 and isinstance(steps.value(0.56), int)
    assert steps.ends[0] == 0.0


def test_keywords_of_a_builder_stay_within_the_values() -> None:
    dropout = axis(hyperparameters={"dropout": [0.1, 0.2, 0.3]})
    assert dropout.ends == pytest.approx((1.0, 3.0))


def test_the_centre_is_neutral_or_given() -> None:
    assert axis(readout=[0.25, 0.5, 1.0, 2.0]).centre == 1.0
    given = axis(readout=[0.25, 0.5, 1.0, 2.0], design=OneAtATime({"readout": 0.5}))
    assert given.centre == 0.5
    schedule = axis(schedule=["constant", "cosine"])
    assert schedule.scale == "choice" and schedule.centre == "constant"


def test_the_rate_comes_first() -> None:
    study = landscape(lambda *_: 1.0, init=[0.5, 1.0], lr=mt.log2(-4, -2))
    assert [each.name for each in axes_of(study, 0.0)] == ["lr", "init"]
