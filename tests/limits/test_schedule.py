"""Time spent on landscapes of sampled limits."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Progress
from mutransfer.limits import Landscape, depth_transfer, landscape, nonlinear
from mutransfer.limits._sampled_curve import SampledCurve, Value
from mutransfer.limits._schedule import Schedule
from tests.limits.nonlinear_problems import problem

RATES = [2.0**power for power in range(-6, 2)]
FINE = [2.0 ** (power / 2) for power in range(-6, 2)]
LONG = problem(activation="tanh", steps=12)


def curve(depth: float, accuracy: float = 0.02, rates: Any = RATES) -> SampledCurve:
    def value(rate: float) -> Value:
        return Value(problem(activation="tanh", lr=rate), depth, "mean", accuracy)

    return SampledCurve(np.array(rates), [value(rate) for rate in rates], value)


def drawn(seconds: float = 600.0, **options: Any) -> SampledCurve:
    sampled = curve(2, **options)
    Schedule([sampled], seconds, None).run()
    return sampled


@pytest.fixture(scope="module")
def whole() -> Landscape:
    """Everything is reached within this budget."""
    p = problem(activation="tanh")
    return landscape(p, values=FINE, depth=[1, 2], accuracy=0.01, seconds=600.0)


@pytest.fixture(scope="module")
def short() -> Landscape:
    return landscape(LONG, values=RATES, depth=[2, math.inf], seconds=0.05)


# Budgets


def test_a_tiny_budget_ends_and_names_what_is_not_reached(short: Landscape) -> None:
    start = time.monotonic()
    found = landscape(LONG, values=RATES, depth=[2, math.inf], seconds=0.05)
    assert time.monotonic() - start < 5.0
    for each in (found, short):
        assert each.curves[-1].unsettled == tuple(RATES)
        assert np.isnan(each.curves[-1].losses).any()
        assert "depth inf: accuracy 0.02 not reached at lr 2^-6, 2^-5" in str(each)


def test_what_is_unknown_is_written_and_read(short: Landscape) -> None:
    text = json.dumps(short.to_json(), allow_nan=False)
    again = Landscape.from_json(text)
    for curve, other in zip(short.curves, again.curves, strict=True):
        np.testing.assert_array_equal(curve.losses, other.losses)
        assert (curve.unsettled, curve.interval) == (other.unsettled, other.interval)
    assert again.accuracy == 0.02 and str(again) == str(short)
    assert not short.rows()[-1]["settled"]


def test_without_an_end_every_accuracy_is_reached(whole: Landscape) -> None:
    assert [curve.unsettled for curve in whole.curves] == [(), ()]
    assert "not reached" not in str(whole)
    for each in whole.curves:
        finite = np.isfinite(each.losses)
        assert (1.96 * each.errors[finite] <= 0.01 * 0.5).all()
        assert (each.errors[finite] > 0).all()


def test_the_optimum_has_an_interval_that_holds_the_precise_one(whole: Landscape) -> None:
    for each in whole.curves:
        assert each.interval is not None and each.optimum is not None
        low, high = each.interval
        # A quarter of the distance of values, which is half an octave.
        assert low < each.optimum < high and math.log2(high / low) <= 0.125 + 1e-9
        rates = 2.0 ** np.arange(math.log2(low) - 0.5, math.log2(high) + 0.5, 1 / 16)
        exact = []
        for rate in rates:
            p = problem(activation="tanh", lr=rate)
            limit = nonlinear(p, each.depth, samples=4096, accuracy=1e-6, seed=7)
            exact.append(limit.losses.mean())
        assert low / 1.05 <= rates[np.argmin(exact)] <= high * 1.05
        assert np.nanmin(whole.points(each).losses) == pytest.approx(min(exact), rel=0.03)
        assert "95% interval" in str(whole).splitlines()[1]


def test_samples_are_spent_where_the_optimum_may_lie() -> None:
    sampled = drawn(accuracy=0.05)
    assert sampled.rivals() and all(sampled.values[i].sampling.factor > 1 for i in sampled.rivals())
    assert int(np.argmin(sampled.losses)) in sampled.rivals()
    assert [value.sampling.factor for value in sampled.values[:2]] == [1, 1]
    assert all(value.settled for value in sampled.values)


def test_values_are_added_between_those_given_until_the_interval_is_narrow() -> None:
    sampled = drawn(accuracy=0.05)
    added = [rate for rate in sampled.grid if rate not in RATES]
    assert len(sampled.values) == len(RATES) + len(added) and sorted(sampled.grid) == [
        *sampled.grid
    ]
    assert sampled.interval is not None
    low, high = sampled.interval
    assert added and math.log2(high / low) <= 0.25 + 1e-9
    # They are given rates or halves, quarters, ... between them.
    sixteenths = np.log2(added) * 16
    np.testing.assert_allclose(sixteenths, np.round(sixteenths), atol=1e-9)


def test_losses_of_the_same_draws_are_compared_more_precisely() -> None:
    sampled = drawn(accuracy=0.05)
    first, second = (sampled.values[RATES.index(rate)] for rate in (0.25, 0.5))
    more, error = first.above(second)
    assert error < math.hypot(first.error, second.error) / 2
    losses = [
        nonlinear(problem(activation="tanh", lr=rate), 2, samples=4096, accuracy=1e-6, seed=7)
        for rate in (0.25, 0.5)
    ]
    assert abs(more - (losses[0].losses.mean() - losses[1].losses.mean())) < 3 * error
    assert first.above(first) == (0.0, 0.0)


def test_without_time_the_interval_reaches_to_the_neighbours() -> None:
    """A parabola through values an octave apart was trusted to a hundredth of one."""
    sampled = curve(2)
    for value in sampled.values:
        for _ in value.pilot(value.pilots):
            pass
    assert sampled.interval is not None
    rivals, ends = sampled.rivals(), sampled.interval
    assert ends == (RATES[rivals[0] - 1], RATES[min(rivals[-1] + 1, len(RATES) - 1)])


def test_a_hopeless_value_takes_two_repetitions() -> None:
    sampled = curve(2, rates=[0.1, 0.2, 0.4, 2000.0])
    Schedule([sampled], 60.0, None).run()
    hopeless = sampled.values[-1]
    assert hopeless.diverged and hopeless.settled and math.isinf(hopeless.loss)
    assert [len(each) for each in hopeless.sampling.stacks[0].drawn.values()] == [0]


def test_both_landscapes_of_a_task_share_the_budget() -> None:
    start = time.monotonic()
    found = depth_transfer(
        "digits, activation=relu, steps=3, examples=2", depth=[1, 2], seconds=0.5
    )
    assert len(found) == 2 and time.monotonic() - start < 10
    assert all(each.accuracy == 0.02 for each in found)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_budget_must_be_positive(seconds: float) -> None:
    with pytest.raises(MutransferError, match=r"seconds is .*: give a positive budget"):
        landscape(problem(activation="tanh"), values=[0.1], depth=[1], seconds=seconds)


def test_an_accuracy_must_be_positive() -> None:
    with pytest.raises(MutransferError, match="accuracy is -1"):
        landscape(problem(activation="tanh"), values=[0.1], depth=[1], accuracy=-1)


def test_infinite_depth_without_a_limit_is_refused_at_once() -> None:
    p = problem(activation="tanh", alpha=0.75, block="post")
    with pytest.raises(MutransferError, match="infinite depth of block 'post'"):
        landscape(p, values=[0.1], depth=[1, math.inf])


# Progress


def test_progress_is_in_seconds_and_ends_with_the_budget() -> None:
    reports = list[Progress]()
    options: dict[str, Any] = {"accuracy": 0.5, "seconds": 30.0, "progress": reports.append}
    landscape(LONG, values=RATES[:3], depth=[1, 2], **options)
    assert {each.what for each in reports} == {"depth 1", "depth 2"}
    assert all(0 < each.done <= each.total < 40.0 for each in reports)
    assert all(each.done == each.elapsed for each in reports)
