"""Records with gaps, with few seeds, of one size, and tables from elsewhere."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from mutransfer import MutransferError, Runs, Size, Transfer, transfer
from mutransfer.certificates import Refusal

Record = Callable[..., Runs]
NEAR = 0.15
"""Octaves by which optima of curves without noise are found."""


def only(runs: Runs, **options: Any) -> Transfer:
    """Return the certificate of the only rule."""
    (found,) = transfer(runs, **options).granted
    return found


def drifting(doublings: float, _: float) -> float:
    return -5.2 - 0.5 * doublings


def without(runs: Runs, lost: Callable[[dict[str, Any]], bool]) -> Runs:
    return replace(runs, rows=[row for row in runs.rows if not lost(row)])


# Gaps


def test_a_rate_that_lacks_a_seed_is_left_out_and_said(record: Record) -> None:
    whole = record(drifting, noise=0.1)
    gap = (256, 2, 1.0)
    runs = without(whole, lambda row: (row["width"], row["seed"], row["lr"]) == gap)
    found, expected = only(runs), only(whole)
    assert found.optima[:-1] == expected.optima[:-1]
    assert found.place.value == pytest.approx(expected.place.value, abs=NEAR)
    assert found.warnings[0] == ("width 256, depth 2 lacks seeds at lr 1, which is left out")


def test_a_gap_at_the_best_rate_leaves_out_the_seed(record: Record) -> None:
    """Without its lowest point a curve would have another optimum."""
    whole = record(lambda *_: -5.0, noise=0.2)
    runs = without(whole, lambda row: (row["width"], row["seed"], row["lr"]) == (256, 2, 2**-5))
    found = only(runs)
    two = only(without(whole, lambda row: row["width"] == 256 and row["seed"] == 2))
    assert found.optima[-1].position == pytest.approx(two.optima[-1].position)
    assert "width 256, depth 2 lacks runs of seed 2, which is left out" in found.warnings


def test_gaps_everywhere_at_the_best_rate_are_refused(record: Record) -> None:
    runs = without(
        record(lambda *_: -5.0),
        lambda row: row["width"] == 64 and (row["seed"], row["lr"]) in [(0, 2**-5), (1, 1), (2, 1)],
    )
    assert "'mup' at width 64, depth 2 lacks runs: no seed" in str(transfer(runs)["mup"])


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_best_rates_may_be_run_again_with_more_seeds(record: Record, best: int) -> None:
    """Runs are added to one seed at every rate, so that the optimum is no less known."""
    whole = record(lambda *_: -5.2, noise=0.2)
    first = without(whole, lambda row: row["seed"] > 0)
    nearest = [2**-5, 2**-6, 2**-4][:best]
    again = without(whole, lambda row: row["seed"] > 0 and row["lr"] not in nearest)
    found, expected = only(again), only(first)
    for mended, known in zip(found.optima, expected.optima, strict=True):
        assert mended.low < -5.2 < mended.high
        assert mended.high - mended.low < 1.1 * (known.high - known.low)
    (warning,) = [each for each in found.warnings if each.startswith("width 32, depth 2 lacks")]
    assert warning.endswith("; seed 1, 2 counts where it was run") and "left out" not in warning


def test_one_size_may_have_more_seeds_than_the_others(record: Record) -> None:
    whole = record(drifting, noise=0.1)
    runs = without(whole, lambda row: row["seed"] > 0 and (row["width"], row["lr"]) != (64, 2**-6))
    assert [best.size["width"] for best in only(runs).optima] == [32, 64, 128, 256]


# Few seeds


def test_one_seed_has_a_stated_interval(record: Record) -> None:
    """It cannot show its own shift, of which two fifths of an octave are assumed on either side."""
    powers = [power / 4 for power in range(-48, 1)]
    one, three = (only(record(drifting, seeds=seeds, powers=powers)) for seeds in (1, 3))
    for best, known in zip(one.optima, three.optima, strict=True):
        assert best.high - best.low == pytest.approx(2 * 1.96 * 0.2, rel=0.25)
        assert known.high - known.low < 0.5 * (best.high - best.low)
    (warning,) = [each for each in one.warnings if "cannot show how far" in each]
    assert warning.startswith("one seed") and "a standard deviation of 0.2 octaves" in warning
    assert not [each for each in three.warnings if "cannot show" in each]


# One size


def test_one_size_is_summarised(record: Record) -> None:
    found = only(record(drifting, widths=(64,)))
    assert found.hyperparameters == {"lr": pytest.approx(2**-5.7, rel=NEAR)}
    assert (found.drift, found.total, found.at) == ({}, 0.0, Size(width=64, depth=2))
    assert found.warnings == ("one size only, width 64, depth 2, which says nothing of others",)


# Tables from elsewhere


def table(best: Callable[..., float], powers: range = range(-12, 1), **axes: Any) -> Runs:
    """Return a record as a table gives it, with parabolas about `best` in all axes."""
    rows = []
    for values in product(*axes.values()):
        size = dict(zip(axes, values, strict=True))
        for power in powers:
            loss = 1 + (power - best(**size)) ** 2
            rows.append({"rule": "default", **size, "lr": 2.0**power, "seed": 0, "loss": loss})
    return Runs(header={"axes": list(axes), "table": {"loss": "val_loss"}}, rows=rows)


def law(params: float, tokens: float) -> float:
    return -6 - 0.5 * math.log2(params / 1e6) + 0.25 * math.log2(tokens / 1e9)


def test_any_axes_have_their_drifts() -> None:
    runs = table(law, params=[10**6, 4 * 10**6, 16 * 10**6], tokens=[10**9, 4 * 10**9, 16 * 10**9])
    found = only(runs, at={"params": 32e6, "tokens": 32e9})
    assert {axis: drift.value for axis, drift in found.drift.items()} == {
        "params": pytest.approx(-0.5, abs=NEAR),
        "tokens": pytest.approx(0.25, abs=NEAR),
    }
    assert found.place.low < law(32e6, 32e9) < found.place.high
    assert found.at == Size(params=32 * 10**6, tokens=32 * 10**9)
    assert found.advice == f"train at {found.at} with lr={2**found.place.value:.2g}"


def test_sizes_without_an_optimum_are_left_out_and_said() -> None:
    runs = table(law, range(-7, 1), params=[10**6, 4 * 10**6, 16 * 10**6], tokens=[10**9, 10**10])
    found = only(runs)
    assert [best.size["params"] for best in found.optima] == [10**6, 10**6, 4 * 10**6]
    assert found.drift["params"].value == pytest.approx(-0.5, abs=NEAR)
    (warning,) = [each for each in found.warnings if "left out" in each]
    assert warning.startswith("3 sizes are left out, without an optimum: params 4e+06, tokens")
    assert "add rates below it" in warning and "--extend" not in warning


def test_too_few_sizes_with_an_optimum_are_refused_by_name() -> None:
    runs = table(law, range(-6, 1), params=[10**6, 4 * 10**6], tokens=[10**9, 10**10])
    refusal = transfer(runs)["default"]
    assert isinstance(refusal, Refusal)
    assert "too few sizes have an optimum to see params and tokens apart" in refusal.reason
    assert "params 4e+06, tokens 1e+09 (the lowest loss is at the edge" in refusal.reason


def test_an_own_sweep_is_refused_where_a_table_is_not(record: Record) -> None:
    """Its rates can be extended."""
    runs = record(lambda doublings, _: -9.0 - doublings)
    assert "--extend 4" in str(transfer(runs)["mup"])
    found = only(replace(runs, header={"table": {"loss": "loss"}}))
    assert [best.size["width"] for best in found.optima] == [32, 64, 128]


def test_an_accuracy_is_refused(record: Record) -> None:
    runs = record(drifting)
    rows = [{**row, "accuracy": -row["loss"]} for row in runs.rows]
    with pytest.raises(MutransferError, match="accuracy is better where it is higher"):
        transfer(replace(runs, rows=rows, metric="accuracy"))


def test_a_sweep_is_said_to_add_rates_alone() -> None:
    rows = [
        {"rule": "mup", "width": width, "lr": 0.5, "beta2": beta2, "seed": 0, "loss": 2 - beta2}
        for width in (32, 64)
        for beta2 in (0.5, 0.75, 1.0)
    ]
    header = {"axes": ["width"], "hyperparameters": ["lr", "beta2"]}
    refusal = transfer(Runs(header=header, rows=rows), over="beta2")["mup"]
    assert isinstance(refusal, Refusal)
    assert "add values of beta2 above it" in refusal.reason and "--extend" not in refusal.reason


def test_rates_in_another_unit_are_warned_of(record: Record) -> None:
    runs = record(drifting)
    rows = [{**row, "lr": 1e8 * row["lr"]} for row in runs.rows]
    assert any(
        "is the column in another unit" in w for w in only(replace(runs, rows=rows)).warnings
    )
    assert not [w for w in only(runs).warnings if "unit" in w]


def test_runs_of_several_versions_are_warned_of(record: Record) -> None:
    header = {"versions": [{"torch": "2.6"}, {"torch": "2.13"}]}
    (warning,) = [w for w in only(replace(record(drifting), header=header)).warnings if "vers" in w]
    assert "torch 2.6; torch 2.13" in warning


def test_axes_that_are_known_reach_farther_with_a_warning() -> None:
    """Along params and tokens other people's drifts are a prior; along width nothing is."""
    runs = table(lambda params, tokens: -8.0, params=[10**8, 2 * 10**8], tokens=[10**9, 10**10])
    found = only(runs, at={"params": 8e9})
    assert found.place.high - found.place.low > 4
    assert any("octaves on either side: run a size nearer" in each for each in found.warnings)
    own = replace(runs, header={**runs.header, "axes": ["width", "depth"]})
    rows = [{**row, "width": row["params"], "depth": row["tokens"]} for row in runs.rows]
    assert not transfer(replace(own, rows=rows), {"width": 8e9}).ok
