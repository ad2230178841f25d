"""Extra steps that make up for a regret, against curves whose laws are known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mutransfer.certificates._decay import decay
from mutransfer.certificates._extra_steps import ExtraSteps, extra_steps
from mutransfer.core import Estimate, Size
from mutransfer.studies import Runs

SIZE = Size(width=64, depth=2)
STEPS = 200
REGRET = 0.01
LAWS = [(1.0, 0.5, 0.5), (0.2, 0.4, 0.2), (1.5, 0.1, 1.0)]
"""Limit, amplitude and power of the loss in the share of the run."""

Loss = Callable[[np.ndarray], np.ndarray]


def law(limit: float, amplitude: float, power: float) -> Loss:
    """Return the loss at shares of the run."""
    return lambda times: np.minimum(limit + amplitude * times**-power, 2.5)


def record(
    loss: Loss,
    metric: str,
    random: np.random.Generator,
    seeds: int = 3,
    noise: float = 0.05,
    **more: Any,
) -> Runs:
    """Return runs at three rates, the middle one the best, with the same curve above a shift."""
    rows = []
    for seed in range(seeds):
        clean = loss(np.arange(1, STEPS + 1) / STEPS) + 0.05 * random.standard_normal()
        losses = clean + noise * random.standard_normal(STEPS)
        for power, excess in ((-8, 0.1), (-7, 0.0), (-6, 0.2)):
            curve = [float(part.mean() + excess) for part in np.split(losses, 50)]
            row = {"rule": "mup", **SIZE, "lr": 2.0**power, "seed": seed, "steps": STEPS}
            row |= {"status": "finished", "curve": curve, "loss": float(losses.mean() + excess)}
            rows.append(row | {"final": float(losses[-20:].mean() + excess)} | more)
    return Runs(header={}, rows=rows, metric=metric)


def truth(loss: Loss, metric: str) -> float:
    """Return the share that makes up for the regret, from the law itself."""
    times = np.arange(1, 4 * STEPS + 1) / STEPS
    values = loss(times)
    if metric == "mean":
        values = np.cumsum(values) / np.arange(1, len(times) + 1)
    falls = values[STEPS - 1] - values[STEPS - 1 :]
    return float(np.interp(REGRET, falls, times[STEPS - 1 :] - 1))


def share(runs: Runs, regret: float = REGRET) -> Estimate:
    found = extra_steps(runs, "mup", SIZE, regret, np.full(10, regret))
    assert found.share is not None, found.source
    return found.share


@pytest.mark.parametrize("metric", ["mean", "final"])
@pytest.mark.parametrize("numbers", LAWS)
def test_the_interval_holds_the_share_of_a_known_law(
    metric: str, numbers: tuple[float, float, float]
) -> None:
    random, loss = np.random.default_rng(0), law(*numbers)
    known = truth(loss, metric)
    found = [share(record(loss, metric, random)) for _ in range(12)]
    assert sum(each.low <= known <= each.high for each in found) >= 10
    assert np.median([each.value for each in found]) == pytest.approx(known, rel=0.3)


def test_a_mean_loss_is_not_taken_for_the_end_of_the_curve() -> None:
    """The mean falls faster than the end; one in place of the other would be far off."""
    loss = law(*LAWS[2])
    mean, end = (truth(loss, metric) for metric in ("mean", "final"))
    assert end > 2 * mean
    runs = record(loss, "mean", np.random.default_rng(1))
    assert share(runs).high < end < share(runs.with_metric("final")).high


def test_more_regret_takes_more_steps_and_none_takes_none() -> None:
    runs = record(law(*LAWS[0]), "final", np.random.default_rng(2))
    shares = [share(runs, regret).value for regret in (0.0, 0.005, 0.01, 0.05)]
    assert shares[0] == 0 and shares == sorted(set(shares))


def test_a_regret_beyond_what_is_left_to_learn_is_never_made_up() -> None:
    runs = record(law(1.0, 0.05, 1.0), "final", np.random.default_rng(3), noise=0.01)
    assert share(runs, 0.5) == Estimate(value=math.inf, low=math.inf, high=math.inf)
    assert "more than 300%" in str(extra_steps(runs, "mup", SIZE, 0.5, np.full(3, 0.5)))


def test_an_infinite_regret_stays_infinite() -> None:
    runs = record(law(*LAWS[0]), "mean", np.random.default_rng(3))
    found = extra_steps(runs, "mup", SIZE, math.inf, np.array([0.01, math.inf]))
    assert found.share is not None and found.share.value == found.share.high == math.inf
    assert found.share.low < 0.1


def test_draws_of_the_regret_widen_the_interval() -> None:
    runs = record(law(*LAWS[0]), "final", np.random.default_rng(4))
    wide = extra_steps(runs, "mup", SIZE, REGRET, np.linspace(0.0, 0.03, 100)).share
    assert wide is not None and wide.high > 2 * share(runs).high and wide.low < share(runs).low


def test_a_schedule_that_falls_has_no_pace_of_its_own() -> None:
    runs = record(law(*LAWS[0]), "mean", np.random.default_rng(5), schedule="cosine")
    found = extra_steps(runs, "mup", SIZE, REGRET, np.full(3, REGRET))
    assert found.share is None and "sweep a second length" in str(found)


def test_a_record_without_curves_says_so() -> None:
    runs = record(law(*LAWS[0]), "mean", np.random.default_rng(6), curve=[])
    found = extra_steps(runs, "mup", SIZE, REGRET, np.full(3, REGRET))
    assert found.share is None and "no curve" in found.source


def test_a_validation_metric_needs_its_own_curve() -> None:
    times = np.arange(1, 11) / 10
    curve = [float(1 + 0.5 * time**-0.5) for time in times]
    often = {"validation": curve[-1], "evaluated_at": [int(t * STEPS) for t in times]}
    runs = record(law(*LAWS[0]), "mean", np.random.default_rng(7), **often)
    for number, row in enumerate(runs.rows):
        row["validation"] = curve[-1] + 0.1 * (number % 3 != 1)
        row["validation_curve"] = curve
    known = truth(law(*LAWS[0]), "final")
    assert share(runs.with_metric("validation")).value == pytest.approx(known, rel=0.1)
    few = [row | {"validation_curve": curve[-3:]} for row in runs.rows]
    bare = Runs(header={}, rows=few, metric="validation")
    assert "evaluate more often" in extra_steps(bare, "mup", SIZE, 0.01, np.full(3, 0.01)).source


def test_lengths_that_were_swept_come_before_curves() -> None:
    """Also where the schedule falls, and for tables that have no curves."""
    random, rows = np.random.default_rng(8), []
    loss = law(*LAWS[0])
    for steps in (50, 100, 200):
        for power in (-8, -7, -6):
            for seed in range(3):
                value = float(loss(np.array([steps / 200]))[0]) + 0.1 * (power + 7) ** 2
                value += 0.002 * random.standard_normal()
                row = {"rule": "mup", "width": 64, "steps": steps, "lr": 2.0**power, "seed": seed}
                rows.append(row | {"loss": value, "schedule": "cosine"})
    runs = Runs(header={"axes": ["width", "steps"]}, rows=rows)
    found = extra_steps(runs, "mup", Size(width=64, steps=200), REGRET, np.full(3, REGRET))
    assert found.share is not None and "3 lengths (steps)" in found.source
    assert found.share.low <= truth(loss, "final") <= found.share.high < 0.2


def test_extra_steps_travel_as_data() -> None:
    estimate = Estimate(value=0.1, low=0.05, high=math.inf)
    for each in (ExtraSteps(share=estimate, source="curves"), ExtraSteps(share=None, source="x")):
        assert ExtraSteps.from_json(each.to_json()) == each
    assert str(ExtraSteps(share=estimate, source="y")) == (
        "10.0% [5.0%, over 300%] more steps, by y"
    )


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0, 2.0])
def test_a_power_with_a_limit_is_found_again(power: float) -> None:
    sizes = np.array([1.0, 2, 4, 8, 16, 32])
    random, hits = np.random.default_rng(9), 0
    for _ in range(40):
        values = 3 + sizes**-power + 0.005 * random.standard_normal(6)
        low, high = np.percentile(decay(sizes, values, np.full(6, 0.005)).powers, [2.5, 97.5])
        hits += low <= power <= high
    assert hits >= 36
