"""Fast transfer, against rates of convergence that are known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError, Runs
from mutransfer.certificates._compute import Comparison, versus_direct
from mutransfer.certificates._costs import run_costs
from mutransfer.certificates._fast import FastTransfer, fast_transfer
from mutransfer.core import Size

WIDTHS = np.array([32.0, 64, 128, 256, 512])
NONE = np.full(5, 1e-3)


def planted(
    a: float,
    b: float,
    *,
    noise: float = 0.01,
    moves: float = 2.0,
    curvature: float = 0.08,
    seed: int = 0,
) -> FastTransfer:
    """Return the verdict on optima and losses of known powers."""
    random, relative = np.random.default_rng(seed), WIDTHS / WIDTHS[0]
    errors = np.full(5, noise)
    optima = -8 + moves * relative**-a + noise * random.standard_normal(5)
    losses = 2 + 0.5 * relative**-b + 1e-3 * random.standard_normal(5)
    return fast_transfer(WIDTHS, optima, errors, losses, NONE, curvature)


@pytest.mark.parametrize(
    ("a", "b", "verdict"), [(1.0, 0.5, "fast"), (2.0, 1.0, "fast"), (0.3, 1.5, "slow")]
)
def test_known_rates_get_their_verdict(a: float, b: float, verdict: str) -> None:
    found = planted(a, b, seed=2)
    assert found.verdict == verdict
    assert found.optimum.low <= a <= found.optimum.high
    assert found.loss.low <= b <= found.loss.high


def test_verdicts_are_seldom_wrong() -> None:
    """Whatever the noise, the rates and the draw; intervals hold the powers."""
    random, wrong, hits = np.random.default_rng(1), 0, 0
    for seed in range(60):
        a, b = np.exp(random.uniform(np.log(0.2), np.log(2.5), 2))
        found = planted(a, b, noise=float(random.choice([0.01, 0.1])), seed=seed)
        truth = "fast" if 2 * a > b else "slow"
        wrong += found.verdict not in (truth, "cannot tell")
        hits += found.optimum.low <= a <= found.optimum.high
        hits += found.loss.low <= b <= found.loss.high
    assert wrong <= 3 and hits >= 110


def test_optima_that_stand_still_are_at_least_as_fast_as_the_loss() -> None:
    found = planted(1.0, 1.0, moves=0.0, noise=0.05)
    assert found.verdict == "fast" and "at least as fast" in found.reason


def test_optima_that_stand_still_by_lack_of_data_show_nothing() -> None:
    """The planted fault of the rule above: errors so large that nothing could move beyond them."""
    found = planted(0.3, 1.5, noise=3.0)
    assert found.verdict == "cannot tell" and "add seeds" in found.reason


def test_losses_that_stand_still_show_nothing() -> None:
    still = np.full(5, 2.0)
    found = fast_transfer(WIDTHS, -8 + WIDTHS / 512, NONE, still, NONE, 0.1)
    assert found.verdict == "cannot tell" and "do not fall" in found.reason


def test_two_sizes_are_too_few() -> None:
    two = np.array([1.0, 2.0])
    with pytest.raises(MutransferError, match="need 3 sizes, and there are 2"):
        fast_transfer(two, two, two, two, two, 1.0)


@settings(max_examples=30)
@given(st.floats(-20, 20), st.floats(0.1, 10), st.floats(0.1, 100))
def test_offsets_and_units_change_nothing(shift: float, unit: float, scale: float) -> None:
    optima, losses = -8 + 2 / WIDTHS, 2 + 16 / WIDTHS
    one = fast_transfer(WIDTHS, optima, NONE, losses, NONE, 0.08)
    other = fast_transfer(
        scale * WIDTHS, shift + optima, NONE, unit * losses - shift, unit * NONE, unit * 0.08
    )
    assert other.verdict == one.verdict
    assert other.loss.value == pytest.approx(one.loss.value, rel=0.02)
    assert other.share.value == pytest.approx(one.share.value, rel=1e-3)


def test_the_result_travels_as_data() -> None:
    found = planted(1.0, 0.5)
    assert FastTransfer.from_json(json.dumps(found.to_json())) == found
    assert "a = +0.99" in str(found) and repr(found).startswith("<FastTransfer: transfer along")


def parabola(distances: np.ndarray) -> np.ndarray:
    return np.asarray(0.05 * np.tile(np.asarray(distances) ** 2, (300, 1)))


def test_one_direct_run_loses_to_a_good_proxy_and_many_win_over_a_bad_one() -> None:
    good, bad = np.full(300, 1e-4), np.full(300, 0.3)
    cheap = versus_direct(good, parabola, (-4, 4), proxies=0.5, target=1.0)
    assert cheap.runs == 1 and cheap.better == "transfer"
    # A place anywhere in the range costs 0.05 * 4^2 / 3 on average.
    assert cheap.direct.value == pytest.approx(0.05 * 16 / 3, rel=0.1)
    dear = versus_direct(bad, parabola, (-4, 4), proxies=30.0, target=1.0)
    assert dear.runs == 31 and dear.better == "direct" and "31 runs" in str(dear)
    assert Comparison.from_json(json.loads(json.dumps(dear.to_json(), allow_nan=False))) == dear


def test_the_best_of_an_even_grid_is_a_twelfth_of_the_square_of_its_step() -> None:
    found = versus_direct(np.zeros(300), parabola, (-4, 4), proxies=7.0, target=1.0)
    assert found.direct.value == pytest.approx(0.05 * 1.0**2 / 12, rel=0.15)


def test_noise_spoils_the_choice_among_direct_runs() -> None:
    numbers = {"proxies": 31.0, "target": 1.0}
    clean = versus_direct(np.zeros(300), parabola, (-4, 4), **numbers)
    noisy = versus_direct(np.zeros(300), parabola, (-4, 4), noise=0.02, **numbers)
    assert noisy.direct.value > 3 * clean.direct.value


def test_diverged_runs_count_as_the_worst() -> None:
    def cliff(distances: np.ndarray) -> np.ndarray:
        return np.where(np.asarray(distances) > 0.1, np.inf, parabola(distances))

    found = versus_direct(np.full(300, np.inf), cliff, (0, 4), proxies=0, target=1, worst=2.0)
    assert found.transfer.value == 2.0 and found.direct.high == pytest.approx(2.0)


def test_costs_go_as_parameters_times_tokens() -> None:
    rows = [
        {"rule": "mup", "width": w, "depth": d, "seed": 0, "lr": 0.1, "loss": 1.0, "steps": 10}
        for w, d in ((32, 2), (64, 2), (64, 4))
    ]
    costs, unit = run_costs(Runs(header={}, rows=rows), "mup")
    small = costs[Size(width=32, depth=2)]
    assert [cost / small for cost in costs.values()] == [1, 4, 8] and unit == "operations"
    axes = {"axes": ["params", "tokens"]}
    table = [row | {"params": 10**9, "tokens": n} for n, row in zip((1, 2, 6), rows, strict=True)]
    costs, _ = run_costs(Runs(header=axes, rows=table), "mup")
    assert [cost / 10**9 for cost in costs.values()] == [1, 2, 6]


def test_costs_of_other_axes_are_measured() -> None:
    axes = {"axes": ["experts"]}
    rows = [
        {"rule": "mup", "experts": n, "seed": s, "lr": 0.1, "loss": 1.0, "seconds": n + s}
        for n in (2, 4)
        for s in (0, 1)
    ]
    costs, unit = run_costs(Runs(header=axes, rows=rows), "mup")
    assert list(costs.values()) == [2.5, 4.5] and unit == "seconds"
    bare = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    with pytest.raises(MutransferError, match="has no seconds"):
        run_costs(Runs(header=axes, rows=bare), "mup")


def test_an_optimum_that_drifts_for_ever_is_slow() -> None:
    """As under standard parametrization, where the losses are those of a logarithm as well."""
    sizes = 2.0 ** np.arange(5, 10)
    ranks = np.arange(5.0)
    errors = np.full(5, 0.05)
    found = fast_transfer(sizes, -0.8 * ranks, errors, 2 - 0.03 * ranks, errors / 50, 0.07)
    assert found.verdict == "slow" and "no limit in sight" in found.reason


def test_a_cost_beyond_what_size_gains_is_said_in_words() -> None:
    """Optima that are not known at all cost more than any percentage says."""
    sizes = 2.0 ** np.arange(5, 9)
    losses = np.array([2.0, 1.9, 1.85, 1.83])
    found = fast_transfer(sizes, np.zeros(4), np.full(4, 9.0), losses, np.full(4, 1e-3), 1.0)
    assert found.verdict == "cannot tell" and "cost more than size gains" in found.reason
