"""Time spent on landscapes of sampled limits."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError, Progress
from mutransfer.limits import Landscape, depth_transfer, landscape, nonlinear
from mutransfer.limits._optimum import best_between, best_value
from mutransfer.limits._schedule import SampledCurve, Schedule, Value
from tests.limits.nonlinear_problems import problem

RATES = [2.0**power for power in range(-6, 2)]
FINE = [2.0 ** (power / 2) for power in range(-6, 2)]
LONG = problem(activation="tanh", steps=12)


def curve(depth: float, accuracy: float = 0.02, rates: Any = RATES) -> SampledCurve:
    problems = [problem(activation="tanh", lr=rate) for rate in rates]
    return SampledCurve(
        np.array(rates), [Value(each, depth, "mean", accuracy) for each in problems]
    )


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
        assert low < each.optimum < high and math.log2(high / low) < 1.5
        best = int(np.argmin(each.losses))
        values = FINE[best - 1 : best + 2]
        exact = []
        for rate in values:
            p = problem(activation="tanh", lr=rate)
            exact.append(nonlinear(p, each.depth, samples=4096, accuracy=1e-6).losses.mean())
        precise = best_value(np.array(values), np.array(exact))
        assert precise is not None and low / 1.05 <= precise <= high * 1.05
        assert "95% interval" in str(whole).splitlines()[1]


def test_samples_are_spent_where_the_optimum_may_lie() -> None:
    sampled = curve(2, accuracy=0.05)
    Schedule([sampled], 600.0, None).run()
    best = int(np.argmin(sampled.losses))
    factors = [value.sampling.factor for value in sampled.values]
    assert factors[best] > 1 and sampled.near()[best - 1]
    assert factors[:2] == [1, 1] and all(value.settled for value in sampled.values)


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


# Intervals of optima


def test_the_interval_of_an_optimum_grows_with_the_errors() -> None:
    grid = 2.0 ** np.arange(-4, 3)
    losses = 0.1 + 0.02 * (np.log2(grid) + 0.7) ** 2
    widths = []
    for error in (1e-6, 1e-3, 4e-3):
        ends = best_between(grid, losses, np.full(len(grid), error))
        assert ends is not None and ends[0] <= 2**-0.7 <= ends[1]
        widths.append(math.log2(ends[1] / ends[0]))
    assert widths[0] < 1e-3 < 0.05 < widths[1] < widths[2]
    # In octaves: the slope at both sides is (error x sqrt 2) / (2 x curvature x distance).
    assert widths[1] == pytest.approx(2 * 1.96 * 1e-3 / 0.04 * math.hypot(0.5, 0.5), rel=0.4)


def test_next_to_divergence_the_optimum_lies_between_the_neighbours() -> None:
    grid, losses = np.array([0.25, 0.5, 1.0, 2.0]), np.array([0.3, 0.2, 0.1, math.inf])
    assert best_between(grid, losses, np.full(4, 1e-6)) == (0.5, 2.0)


def test_an_unknown_loss_is_left_out() -> None:
    grid, losses = np.array([0.25, 0.5, 1.0, 2.0]), np.array([0.3, 0.2, math.nan, 0.3])
    assert best_value(grid, losses) is not None
    assert best_between(grid[2:], losses[2:], np.zeros(2)) is None
