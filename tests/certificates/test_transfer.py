"""Drift, regret and prediction of planted optima."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer._errors import MutransferError
from mutransfer.studies import Runs, Size
from mutransfer.transfer import Transfer, transfer

Record = Callable[..., Runs]
WARNINGS = {
    "drift": "octaves per doubling of width: it does not transfer",
    "span": "too little to see a drift; use 4 or more",
    "far": "farther than the sweep spans",
    "diverges": "the smallest size's optimum diverges",
    "moves": "octaves from the smallest size to the largest",
}


def found(runs: Runs, target: Mapping[str, int] | None = None) -> Transfer:
    (only,) = transfer(runs, target)
    return only


def warned(own: Transfer) -> list[str]:
    return [next(name for name, words in WARNINGS.items() if words in warning) for warning in own.warnings]


@pytest.mark.parametrize("slope", [-0.7, -0.5, 0.0, 0.3])
def test_a_planted_drift_is_found_exactly(record: Record, slope: float) -> None:
    own = found(record(lambda doublings, _: -5.3 + slope * doublings))
    drift = own.drift["width"]
    assert [best.log2_lr for best in own.optima] == pytest.approx([-5.3 + slope * rank for rank in range(4)])
    assert [best.size.width for best in own.optima] == [32, 64, 128, 256]
    assert (drift.value, drift.low, drift.high) == pytest.approx((slope,) * 3)
    assert own.drift.keys() == {"width"} and own.total == pytest.approx(3 * slope)


def test_intervals_cover_what_was_planted(record: Record) -> None:
    slopes = np.linspace(-0.8, 0.8, 20)
    drifts = [found(record(lambda doublings, _, s=s: -6 + s * doublings, noise=0.2, seeds=10)).drift["width"] for s in slopes]
    covered = [drift.low <= slope <= drift.high for drift, slope in zip(drifts, slopes, strict=True)]
    assert sum(covered) >= 16
    assert all(0.01 < drift.high - drift.low < 0.5 and drift.low <= drift.value <= drift.high for drift in drifts)


@pytest.mark.parametrize(("width", "doublings"), [(256, 0), (1024, 2), (64, -2)])
def test_the_rate_for_a_target_is_on_the_line(record: Record, width: int, doublings: int) -> None:
    own = found(record(lambda doublings, _: -5.2 - 0.4 * doublings), {"width": width})
    assert own.target == Size(width=width, depth=2)
    assert own.rate.value == pytest.approx(-5.2 - 0.4 * (3 + doublings))


def test_without_a_target_the_rate_is_the_largest_sizes_optimum(record: Record) -> None:
    """Also where the optima are on no line."""
    own = found(record(lambda doublings, _: -5 + 0.2 * doublings**2))
    assert own.target == Size(width=256, depth=2) and own.rate.value == pytest.approx(own.optima[-1].log2_lr)
    assert found(record(lambda doublings, _: -5), {}) == found(record(lambda doublings, _: -5))


def test_width_and_depth_drift_on_their_own(record: Record) -> None:
    runs = record(lambda width, depth: -5 - 0.3 * width + 0.2 * depth, depths=(2, 4, 8))
    own = found(runs, {"width": 512, "depth": 16})
    assert {axis: each.value for axis, each in own.drift.items()} == pytest.approx({"width": -0.3, "depth": 0.2})
    assert own.rate.value == pytest.approx(-5 - 0.3 * 4 + 0.2 * 3)
    assert own.target == Size(width=512, depth=16) and own.total == pytest.approx(-0.9 + 0.4)
    assert found(runs, {"depth": 16}).rate.value == pytest.approx(-5 - 0.3 * 3 + 0.2 * 3)


def test_depth_alone_may_vary(record: Record) -> None:
    own = found(record(lambda _, depth: -5 - 0.5 * depth, widths=(32,), depths=(2, 4, 8)))
    assert own.drift.keys() == {"depth"} and own.drift["depth"].value == pytest.approx(-0.5)


def test_regret_is_zero_where_the_optimum_stays(record: Record) -> None:
    regret = found(record(lambda *_: -5)).regret
    assert (regret.value, regret.low, regret.high) == (0, 0, 0)


@pytest.mark.parametrize(("slope", "expected"), [(-1, 9), (1, 9), (0.5, 2.0)])
def test_regret_is_the_loss_above_the_lowest_one_run(record: Record, slope: float, expected: float) -> None:
    """At the largest width the loss is 1 + d^2, d octaves from its best rate; with slope 1/2, d is 1.5 and the lowest run has d 0.5."""
    assert found(record(lambda doublings, _: -6 + slope * doublings)).regret.value == pytest.approx(expected)


def test_regret_is_interpolated_between_the_rates_run(record: Record) -> None:
    own = found(record(lambda doublings, _: -6.5 + 0.1 * doublings, widths=(32, 64)))
    small, left, right = -6.5, (-7 - -6.4) ** 2, (-6 - -6.4) ** 2
    assert own.regret.value == pytest.approx((small + 7) * right + (-6 - small) * left - right)


def test_regret_is_infinite_where_the_rate_diverges(record: Record) -> None:
    own = found(record(lambda doublings, _: -4 - 2 * (doublings > 2), diverges=lambda power, width: width == 256 and power > -5))
    assert own.regret.value == math.inf and own.regret.high == math.inf
    assert "diverges" in warned(own)
    data = json.loads(json.dumps(own.to_json(), allow_nan=False))
    assert data["regret"]["value"] is None and data["rate"]["value"] == own.rate.value
    assert data["target"] == {"width": 256, "depth": 2} and len(data["optima"]) == 4


def test_regret_is_infinite_where_the_rate_was_not_run(record: Record) -> None:
    near, far = record(lambda *_: -3, widths=(32,), powers=range(-5, 0)), record(lambda *_: -9, widths=(64,), powers=range(-12, -5))
    assert found(replace(near, rows=[*near.rows, *far.rows])).regret.value == math.inf


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.floats(1, 3) | st.just(math.inf), min_size=4, max_size=4), min_size=4, max_size=4), st.integers(1, 4), st.data()
)
def test_regret_is_never_negative(table: list[list[float]], best: int, data: st.DataObject) -> None:
    """Two sizes, two seeds, any losses between edges that are worse."""
    rows: list[dict[str, Any]] = []
    for number, losses in enumerate(table):
        size, seed = divmod(number, 2)
        whole = [4.0, *losses[: best - 1], 0.5, *losses[best:], 4.0]
        for power, loss in enumerate(whole):
            given_loss = None if math.isinf(loss) else loss
            rows.append({"rule": "sp", "width": 8 << size, "depth": 2, "lr": 2.0**power, "seed": seed, "loss": given_loss})
    regret = found(Runs(header={}, rows=rows)).regret
    assert -1e-12 <= regret.low <= regret.value <= regret.high


@pytest.mark.parametrize(
    ("options", "target", "expected"),
    [
        ({"slope": 0.0}, {}, []),
        ({"slope": 0.1}, {"width": 2048}, []),
        ({"slope": 0.3}, {}, ["drift"]),
        ({"slope": -0.5}, {}, ["drift", "moves"]),
        ({"slope": 0.0}, {"width": 4096}, ["far"]),
        ({"slope": 0.0, "widths": (32, 64)}, {}, ["span"]),
        ({"slope": 0.3, "noise": 2.0, "seeds": 3}, {}, None),
    ],
)
def test_warnings_appear_where_they_should(
    record: Record, options: dict[str, Any], target: Mapping[str, int], expected: list[str] | None
) -> None:
    slope = options.pop("slope") if (options := dict(options)) else 0
    own = found(record(lambda doublings, _: -6 + slope * doublings, **options), target)
    if expected is None:
        assert own.drift["width"].low < 0 < own.drift["width"].high, "the noise hides the drift"
        assert "drift" not in warned(own)
    else:
        assert warned(own) == expected


def test_every_rule_has_its_own_transfer(record: Record) -> None:
    one, other = record(lambda *_: -5, rule="mup"), record(lambda doublings, _: -5 - doublings, rule="sp")
    both = transfer(replace(one, rows=[*one.rows, *other.rows]))
    assert [(each.rule, round(each.drift["width"].value, 6)) for each in both] == [("mup", 0), ("sp", -1)]


def test_the_order_of_rows_does_not_matter(record: Record) -> None:
    runs = record(lambda doublings, _: -5 - 0.3 * doublings, noise=0.1)
    assert transfer(replace(runs, rows=runs.rows[::-1])) == transfer(runs)


def flat(*_: float) -> float:
    return -5.0


@pytest.mark.parametrize(
    ("change", "target", "says"),
    [
        (lambda rows: [], {}, "the record is empty: run the sweep first"),
        (lambda rows: [r for r in rows if r["width"] == 32], {}, "'mup' was run at one size only, width 32, depth 2: transfer needs two"),
        (lambda rows: rows[:-1], {}, "the record lacks seed 2 at rate 1 of rule 'mup' at width 256, depth 2: run the sweep again"),
        (lambda rows: [r for r in rows if r["width"] < 256 or r["seed"]], {}, "'mup' has other seeds at other sizes"),
        (lambda rows: [r for r in rows if r["lr"] in (2**-5, 2**-4)], {}, "was run at 2 rates: an optimum needs at least 3"),
        (lambda rows: [r for r in rows if r["lr"] > 2**-5], {}, "'mup' at width 32, depth 2: the lowest loss is at the edge .* below it"),
        (lambda rows: [r for r in rows if r["lr"] < 2**-5], {}, "'mup' at width 32, depth 2: the lowest loss is at the edge .* above it"),
        (lambda rows: rows, {"depth": 4}, "the sweep has one depth only, 2, and says nothing of depth 4"),
        (lambda rows: rows, {"heads": 4}, "target has heads: it takes width and depth"),
    ],
    ids=["empty", "one size", "incomplete", "seeds", "two rates", "low edge", "high edge", "fixed axis", "unknown axis"],
)
def test_what_says_nothing_is_refused(record: Record, change: Callable[..., Any], target: Mapping[str, int], says: str) -> None:
    runs = record(flat)
    with pytest.raises(MutransferError, match=says):
        transfer(replace(runs, rows=change(runs.rows)), target)


def test_sizes_that_only_grow_together_are_refused() -> None:
    rows = [
        {"rule": "sp", "width": width, "depth": depth, "lr": 2.0**power, "seed": 0, "loss": 1 + (power - best) ** 2}
        for (width, depth), best in {(32, 4): -6, (64, 8): -7}.items()
        for power in range(-9, -3)
    ]
    with pytest.raises(MutransferError, match="width and depth only vary together"):
        transfer(Runs(header={}, rows=rows))
