"""Drift, regret and prediction of planted optima."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import Runs, Size, Transfer, transfer

Record = Callable[..., Runs]
WARNINGS = {
    "drift": "octaves per doubling of width: it does not transfer",
    "span": "too little to see a drift; use 4 or more",
    "far": "farther than the sweep spans",
    "diverges": "the smallest size's optimum diverges",
    "moves": "octaves from the smallest size to the largest",
}


def only(runs: Runs, at: Mapping[str, int] | None = None) -> Transfer:
    """Return the transfer of the only rule."""
    (transferred,) = transfer(runs, at)
    return transferred


def warned(transferred: Transfer) -> list[str]:
    """Return the kinds of warnings."""
    return [
        next(name for name, words in WARNINGS.items() if words in warning)
        for warning in transferred.warnings
    ]


# Drift


@pytest.mark.parametrize("slope", [-0.7, -0.5, 0.0, 0.3])
def test_a_planted_drift_is_found_exactly(record: Record, slope: float) -> None:
    transferred = only(record(lambda doublings, _: -5.3 + slope * doublings))
    drift = transferred.drift["width"]
    rates = [best.log2_lr for best in transferred.optima]
    assert rates == pytest.approx([-5.3 + slope * rank for rank in range(4)])
    assert [best.size["width"] for best in transferred.optima] == [32, 64, 128, 256]
    assert (drift.value, drift.low, drift.high) == pytest.approx((slope,) * 3)
    assert transferred.drift.keys() == {"width"}
    assert transferred.total == pytest.approx(3 * slope)


def test_intervals_cover_what_was_planted(record: Record) -> None:
    slopes = np.linspace(-0.8, 0.8, 20)
    drifts = [
        only(record(lambda doublings, _, s=s: -6 + s * doublings, noise=0.2, seeds=10))
        for s in slopes
    ]
    drifts = [transferred.drift["width"] for transferred in drifts]
    pairs = list(zip(drifts, slopes, strict=True))
    assert sum(drift.low <= slope <= drift.high for drift, slope in pairs) >= 16
    assert all(0.01 < drift.high - drift.low < 0.5 for drift in drifts)
    assert all(drift.low <= drift.value <= drift.high for drift in drifts)


def test_width_and_depth_drift_on_their_own(record: Record) -> None:
    runs = record(lambda width, depth: -5 - 0.3 * width + 0.2 * depth, depths=(2, 4, 8))
    transferred = only(runs, {"width": 512, "depth": 16})
    drifts = {axis: drift.value for axis, drift in transferred.drift.items()}
    assert drifts == pytest.approx({"width": -0.3, "depth": 0.2})
    assert transferred.rate.value == pytest.approx(-5 - 0.3 * 4 + 0.2 * 3)
    assert transferred.target == Size(width=512, depth=16)
    assert transferred.total == pytest.approx(-0.9 + 0.4)
    assert only(runs, {"depth": 16}).rate.value == pytest.approx(-5 - 0.3 * 3 + 0.2 * 3)


def test_depth_alone_may_vary(record: Record) -> None:
    transferred = only(record(lambda _, depth: -5 - 0.5 * depth, widths=(32,), depths=(2, 4, 8)))
    assert transferred.drift.keys() == {"depth"}
    assert transferred.drift["depth"].value == pytest.approx(-0.5)


# Targets


@pytest.mark.parametrize(("width", "doublings"), [(256, 0), (1024, 2), (64, -2)])
def test_the_rate_for_a_target_is_on_the_line(record: Record, width: int, doublings: int) -> None:
    transferred = only(record(lambda rank, _: -5.2 - 0.4 * rank), {"width": width})
    rate = -5.2 - 0.4 * (3 + doublings)
    assert transferred.target == Size(width=width, depth=2)
    assert transferred.rate.value == pytest.approx(rate)
    assert transferred.hyperparameters == pytest.approx({"lr": 2**rate})


def test_without_a_target_the_rate_is_the_largest_sizes_optimum(record: Record) -> None:
    """Also where the optima are on no line."""
    transferred = only(record(lambda doublings, _: -5 + 0.2 * doublings**2))
    assert transferred.target == Size(width=256, depth=2)
    assert transferred.rate.value == pytest.approx(transferred.optima[-1].log2_lr)
    assert only(record(lambda *_: -5), {}) == only(record(lambda *_: -5))


# Regret


def test_regret_is_zero_where_the_optimum_stays(record: Record) -> None:
    regret = only(record(lambda *_: -5)).regret
    assert (regret.value, regret.low, regret.high) == (0, 0, 0)


@pytest.mark.parametrize(("slope", "expected"), [(-1, 9), (1, 9), (0.5, 2.0)])
def test_regret_is_the_loss_above_the_lowest_one_run(
    record: Record, slope: float, expected: float
) -> None:
    """At the largest width the loss is 1 + d^2, d octaves from its best rate.

    With slope 1/2, d is 1.5 and the lowest run has d 0.5.
    """
    regret = only(record(lambda doublings, _: -6 + slope * doublings)).regret
    assert regret.value == pytest.approx(expected)


def test_regret_is_interpolated_between_the_rates_run(record: Record) -> None:
    regret = only(record(lambda doublings, _: -6.5 + 0.1 * doublings, widths=(32, 64))).regret
    small, left, right = -6.5, (-7 - -6.4) ** 2, (-6 - -6.4) ** 2
    assert regret.value == pytest.approx((small + 7) * right + (-6 - small) * left - right)


def test_regret_is_infinite_where_the_rate_diverges(record: Record) -> None:
    runs = record(
        lambda doublings, _: -4 - 2 * (doublings > 2),
        diverges=lambda power, width: width == 256 and power > -5,
    )
    transferred = only(runs)
    assert transferred.regret.value == math.inf and transferred.regret.high == math.inf
    assert "diverges" in warned(transferred)


def test_regret_is_infinite_where_the_rate_was_not_run(record: Record) -> None:
    near = record(lambda *_: -3, widths=(32,), powers=range(-5, 0))
    far = record(lambda *_: -9, widths=(64,), powers=range(-12, -5))
    assert only(replace(near, rows=[*near.rows, *far.rows])).regret.value == math.inf


LOSS = st.floats(1, 3) | st.just(math.inf)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(LOSS, min_size=4, max_size=4), min_size=4, max_size=4), st.integers(1, 4))
def test_regret_is_never_negative(table: list[list[float]], best: int) -> None:
    """Two sizes, two seeds, any losses between edges that are worse."""
    rows: list[dict[str, Any]] = []
    for number, losses in enumerate(table):
        size, seed = divmod(number, 2)
        shared = {"rule": "sp", "width": 8 << size, "depth": 2, "seed": seed}
        whole = [4.0, *losses[: best - 1], 0.5, *losses[best:], 4.0]
        for power, loss in enumerate(whole):
            rows.append({**shared, "lr": 2.0**power, "loss": None if math.isinf(loss) else loss})
    regret = only(Runs(header={}, rows=rows)).regret
    assert -1e-12 <= regret.low <= regret.value <= regret.high


# Warnings


@pytest.mark.parametrize(
    ("options", "at", "expected"),
    [
        ({"slope": 0.0}, {}, []),
        ({"slope": 0.1}, {"width": 2048}, []),
        ({"slope": 0.3}, {}, ["drift"]),
        ({"slope": -0.5}, {}, ["drift", "moves"]),
        ({"slope": 0.0}, {"width": 4096}, ["far"]),
        ({"slope": 0.0, "widths": (32, 64)}, {}, ["span"]),
    ],
)
def test_warnings_appear_where_they_should(
    record: Record, options: dict[str, Any], at: Mapping[str, int], expected: list[str]
) -> None:
    slope = options["slope"]
    others = {name: value for name, value in options.items() if name != "slope"}
    runs = record(lambda doublings, _: -6 + slope * doublings, **others)
    assert warned(only(runs, at)) == expected


def test_a_drift_within_noise_gives_no_warning(record: Record) -> None:
    runs = record(lambda doublings, _: -6 + 0.3 * doublings, noise=2.0, seeds=3)
    transferred = only(runs)
    drift = transferred.drift["width"]
    assert drift.low < 0 < drift.high and abs(drift.value) > 0.25
    assert "drift" not in warned(transferred)
