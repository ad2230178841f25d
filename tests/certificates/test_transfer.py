"""Drift, regret and prediction of planted optima."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from mutransfer import Runs, Size, Transfer, transfer
from mutransfer.certificates._refusals import between

Record = Callable[..., Runs]
NEAR = 0.12
"""Octaves by which optima of curves without noise are found."""

WARNINGS = {
    "drift": "octaves per doubling of width: it does not transfer",
    "span": "too little to see a drift; use 4 or more",
    "unsure": "does not show that the drift per doubling of width is within 0.1",
    "far": "farther than the sweep spans",
    "three": "cannot show a drift that begins late",
    "bend": "the drift changes along width",
    "small": "is smaller than any that was run",
    "one": "one size only",
}


def only(runs: Runs, at: Mapping[str, int] | None = None) -> Transfer:
    """Return the certificate of the only rule."""
    (found,) = transfer(runs, at).granted
    return found


def refusal(runs: Runs, at: Mapping[str, int] | None = None) -> str:
    """Return the refusal of the only rule."""
    (found,) = transfer(runs, at).refusals
    return found.reason


def warned(found: Transfer) -> list[str]:
    """Return the kinds of warnings."""
    return [
        next(name for name, words in WARNINGS.items() if words in warning)
        for warning in found.warnings
    ]


# Drift


@pytest.mark.parametrize("slope", [-0.7, -0.5, 0.0, 0.3])
def test_a_planted_drift_is_found(record: Record, slope: float) -> None:
    found = only(record(lambda doublings, _: -5.3 + slope * doublings))
    drift = found.drift["width"]
    assert [best.log2_lr for best in found.optima] == pytest.approx(
        [-5.3 + slope * rank for rank in range(4)], abs=NEAR
    )
    assert all(best.low < best.log2_lr < best.high for best in found.optima)
    assert [best.size["width"] for best in found.optima] == [32, 64, 128, 256]
    assert drift.low <= slope <= drift.high and drift.value == pytest.approx(slope, abs=NEAR)
    assert found.drift.keys() == found.verdicts.keys() == found.laws.keys() == {"width"}
    assert found.verdicts["width"] == ("beyond" if slope else "within")
    assert found.total == pytest.approx(3 * slope, abs=2 * NEAR)


def test_intervals_cover_what_was_planted(record: Record) -> None:
    slopes = np.linspace(-0.8, 0.8, 20)
    found = [
        only(record(lambda doublings, _, s=s: -6 + s * doublings, noise=0.2, seeds=10))
        for s in slopes
    ]
    pairs = [(each.drift["width"], slope) for each, slope in zip(found, slopes, strict=True)]
    assert sum(drift.low <= slope <= drift.high for drift, slope in pairs) >= 18
    assert all(0.01 < drift.high - drift.low < 0.6 for drift, _ in pairs)
    assert all(drift.low <= drift.value <= drift.high for drift, _ in pairs)


def test_width_and_depth_drift_on_their_own(record: Record) -> None:
    runs = record(lambda width, depth: -5 - 0.3 * width + 0.2 * depth, depths=(2, 4, 8))
    found = only(runs, {"width": 512, "depth": 16})
    drifts = {axis: drift.value for axis, drift in found.drift.items()}
    assert drifts == pytest.approx({"width": -0.3, "depth": 0.2}, abs=NEAR)
    assert found.place.value == pytest.approx(-5 - 0.3 * 4 + 0.2 * 3, abs=3 * NEAR)
    assert found.place.low < -5 - 0.3 * 4 + 0.2 * 3 < found.place.high
    assert found.at == Size(width=512, depth=16)
    assert only(runs, {"depth": 16}).at == Size(width=256, depth=16)


def test_depth_alone_may_vary(record: Record) -> None:
    found = only(record(lambda _, depth: -5 - 0.5 * depth, widths=(32,), depths=(2, 4, 8)))
    assert found.drift.keys() == {"depth"}
    # Three sizes are few: the mean is drawn to a constant, and the interval is wide.
    assert found.drift["depth"].low < -0.5 < found.drift["depth"].value < -0.2


# Targets


@pytest.mark.parametrize(("width", "doublings"), [(256, 0), (1024, 2), (64, -2)])
def test_the_place_for_a_target_is_on_the_line(record: Record, width: int, doublings: int) -> None:
    found = only(record(lambda rank, _: -5.2 - 0.4 * rank), {"width": width})
    place = -5.2 - 0.4 * (3 + doublings)
    assert found.at == Size(width=width, depth=2)
    assert found.place.low <= place <= found.place.high
    assert found.place.value == pytest.approx(place, abs=2 * NEAR)
    assert found.hyperparameters == {"lr": 2**found.place.value}
    assert found.intervals == {"lr": (2**found.place.low, 2**found.place.high)}
    assert found.refusal is None


def test_farther_targets_are_less_sure(record: Record) -> None:
    runs = record(lambda *_: -5, noise=0.2)
    places = [only(runs, {"width": width}).place for width in (256, 512, 1024, 4096)]
    widths = [place.high - place.low for place in places]
    assert widths == sorted(widths) and widths[-1] > 1.3 * widths[1]


def test_without_a_target_the_rate_is_the_largest_sizes_optimum(record: Record) -> None:
    """Also where the optima are on no line."""
    found = only(record(lambda doublings, _: -5 + 0.2 * doublings**2))
    assert found.at == Size(width=256, depth=2)
    best = found.optima[-1]
    assert (found.place.value, found.place.low, found.place.high) == (
        best.position,
        best.low,
        best.high,
    )
    assert only(record(lambda *_: -5), {}) == only(record(lambda *_: -5))


def test_the_law_along_an_axis_goes_from_the_smallest_size_to_the_target(record: Record) -> None:
    found = only(record(lambda doublings, _: -5 - 0.3 * doublings), {"width": 1024})
    widths = [value for value, _ in found.bands["width"]]
    assert widths[0] == 32 and widths[-1] == pytest.approx(1024) and sorted(widths) == widths
    end = found.bands["width"][-1][1]
    assert (end.value, end.low, end.high) == pytest.approx(
        (found.place.value, found.place.low, found.place.high)
    )


# Regret


def test_the_regret_is_that_of_the_uncertainty(record: Record) -> None:
    """The loss is 1 + d^2, d octaves from its best rate."""
    near = only(record(lambda *_: -5, noise=0.1, seeds=5), {"width": 512})
    far = only(record(lambda *_: -5, noise=0.1, seeds=5), {"width": 4096})
    for found in (near, far):
        half = (found.place.high - found.place.low) / 2
        assert 0 <= found.regret.low < found.regret.value < found.regret.high
        assert 0.4 * half**2 < found.regret.high < 3 * half**2
    assert near.regret.high < far.regret.high


# Warnings and refusals


@pytest.mark.parametrize(
    ("options", "at", "expected"),
    [
        ({"slope": 0.0}, {}, []),
        ({"slope": 0.1}, {"width": 2048}, ["unsure"]),
        ({"slope": 0.4}, {}, ["drift"]),
        ({"slope": -0.5}, {}, ["drift"]),
        ({"slope": 0.0}, {"width": 4096}, ["unsure", "far"]),
        ({"slope": 0.0}, {"width": 16}, ["small"]),
        ({"slope": 0.0, "widths": (32, 64)}, {}, ["span"]),
        ({"slope": 0.0, "widths": (32, 64, 128)}, {"width": 256}, ["unsure", "three"]),
        ({"slope": 0.0, "widths": (32,)}, {}, ["one"]),
    ],
)
def test_warnings_appear_where_they_should(
    record: Record, options: dict[str, Any], at: Mapping[str, int], expected: list[str]
) -> None:
    slope = options["slope"]
    others = {name: value for name, value in options.items() if name != "slope"}
    runs = record(lambda doublings, _: -6 + slope * doublings, **others)
    assert warned(only(runs, at)) == expected


def test_a_drift_that_bends_is_warned_of(record: Record) -> None:
    widths = (16, 32, 64, 128, 256, 512)
    runs = record(lambda rank, _: -3 - 0.3 * max(rank - 2, 0) ** 2, widths=widths)
    assert "bend" in warned(only(runs))
    assert "bend" in warned(only(runs, {"width": 1024}))


def test_a_drift_within_noise_gives_no_warning(record: Record) -> None:
    found = only(record(lambda doublings, _: -6 + 0.3 * doublings, noise=1.5, seeds=3))
    drift = found.drift["width"]
    assert drift.low < 0 < drift.high
    assert "drift" not in warned(found) and found.verdicts["width"] == "cannot tell"


@pytest.mark.parametrize(
    ("slope", "widths", "at", "reason"),
    [
        (0.0, (32, 64, 128, 256), 65536, "256 times the largest, and beyond 128 times nothing is"),
        (-0.7, (32, 64, 128, 256), 4096, "a drift is followed up to 8 times; use a rule under"),
        (0.0, (32, 128), 1024, "two values of width show no law, and width 1024 is 8 times the"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_what_to_run(
    record: Record, slope: float, widths: tuple[int, ...], at: int, reason: str
) -> None:
    runs = record(lambda doublings, _: -4 + slope * doublings, widths=widths)
    found = refusal(runs, {"width": at})
    assert reason in found and "next, about half way to the target" in found
    assert transfer(runs, {"width": at})["mup"].optima[-1].size["width"] == widths[-1]
    only(runs, {"width": 2 * widths[-1]})


def test_the_size_to_run_next_is_one_that_the_builder_takes(record: Record) -> None:
    """Builders of heads of 16 or 24 features refuse other widths."""
    halfway = {(32, 64, 128, 256): 4096, (96, 192, 288, 384): 4992, (48, 72, 96): 2496}
    for widths, size in halfway.items():
        found = refusal(record(lambda *_: -6, widths=widths), {"width": 65536})
        assert f"run width {size} next" in found
    assert between({2, 4}, 4, 8) == 6 and between({16, 32}, 32, 48) == 48
    for largest, target in ((700, 701), (64, 65), (4, 2)):
        assert between({largest}, largest, target) == target
    assert between({124_000_000, 355_000_000}, 355_000_000, 10**11) == 6_000_000_000


def test_a_prediction_too_wide_to_use_is_refused(record: Record) -> None:
    runs = record(lambda *_: -6, noise=3.0, powers=range(-16, 4), widths=(32, 64, 128))
    assert "octaves on either side only" in refusal(runs, {"width": 2048})
