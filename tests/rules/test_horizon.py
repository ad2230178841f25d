"""Rules for batch size and duration: exponents, dynamics and refusals."""

import math
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.rules import HORIZON_RULES, ONE, Horizon, Powers, ema_time, horizon, powers

HALF = Fraction(1, 2)
BATCH, TOKENS = powers(batch=1), powers(tokens=1)
STEPS = TOKENS / BATCH

# name: rate, eps, decay, 1 - beta
PUBLISHED = {
    "none": (ONE, ONE, ONE, ONE),
    "linear": (BATCH, ONE, ONE, ONE),
    "sde": (BATCH**HALF, BATCH**-HALF, BATCH**HALF, BATCH),
    "complete-d": (STEPS**-HALF, STEPS**HALF, STEPS**-HALF, STEPS**-1),
    "bjorck": (TOKENS ** Fraction(-32, 100), ONE, ONE, ONE),
    "ema": (ONE, ONE, STEPS**-1, ONE),
    "marin": (BATCH**HALF * TOKENS ** Fraction(-3, 10), STEPS**HALF, ONE, BATCH),
    "nanochat": (BATCH**HALF, ONE, BATCH**HALF / TOKENS, ONE),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_exponents_are_the_published_ones(name: str) -> None:
    rule = HORIZON_RULES[name]
    assert (rule.lr, rule.eps, rule.decay, rule.one_minus_beta) == PUBLISHED[name]
    assert rule.name == name


def test_every_rule_is_published_and_names_its_source() -> None:
    assert set(HORIZON_RULES) == set(PUBLISHED)
    for rule in HORIZON_RULES.values():
        assert (
            rule.source
            and rule.title
            and rule.assumptions
            and rule.range_source
            and rule.optimizers
        )
        used = {
            name
            for power in (rule.lr, rule.eps, rule.decay, rule.one_minus_beta)
            for name, _ in power.exponents
        }
        assert used <= {name for name in ("batch", "tokens") if getattr(rule, name) is not None}


@pytest.mark.parametrize("name", ["sde", "complete-d", "ema", "nanochat"])
def test_weights_remember_the_same_fraction_of_the_run(name: str) -> None:
    rule = HORIZON_RULES[name]
    memory = ONE / (rule.lr * rule.decay * STEPS)
    assert (memory if rule.tokens is not None else memory.substitute(tokens=None)) == ONE
    change = horizon(name, batch=2, tokens=1 if rule.tokens is None else 8)
    _, before = ema_time(0.01, 0.1, 4096)
    _, after = ema_time(0.01 * change.lr, 0.1 * change.decay, round(4096 * change.steps))
    assert after == pytest.approx(before, rel=1e-12)


def test_complete_d_is_the_sde_rule_at_fixed_tokens() -> None:
    for quantity in ("lr", "eps", "decay", "one_minus_beta"):
        assert getattr(HORIZON_RULES["complete-d"], quantity).substitute(tokens=None) == getattr(
            HORIZON_RULES["sde"], quantity
        )


# The dynamics. A quadratic in one dimension with thousands of replicas. Its curvature is so small
# that the signal is at most a tenth of the noise at the largest batch. Moments start where the
# noise puts them. Halfway the noise falls, and the second moment follows.

CURVATURE, START, STEPS_AT_BASE, REPLICAS = 0.005, 8.0, 1600, 16000
NOISE = (3.0, 1.0)
BASE: dict[str, float] = {"lr": 0.25, "eps": 1.0, "decay": 0.0015, "beta1": 0.99, "beta2": 0.996}


def train(kappa: int, seed: int, **numbers: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Final positions of all replicas under AdamW, with batches of kappa."""
    lr, eps, decay, beta1, beta2 = (numbers[name] for name in BASE)
    random = np.random.default_rng(seed)
    x, first, second = (
        np.full(REPLICAS, START),
        np.zeros(REPLICAS),
        np.full(REPLICAS, NOISE[0] ** 2 / kappa),
    )
    steps = STEPS_AT_BASE // kappa
    for step in range(steps):
        noise = NOISE[2 * step // steps] / math.sqrt(kappa)
        gradient = CURVATURE * x + noise * random.standard_normal(REPLICAS)
        first += (1 - beta1) * (gradient - first)
        second += (1 - beta2) * (gradient**2 - second)
        x = x * (1 - lr * decay) - lr * first / (np.sqrt(second) + eps)
    return x


def by_rule(kappa: int) -> dict[str, float]:
    change = horizon("sde", batch=kappa, betas=(BASE["beta1"], BASE["beta2"]), optimizer="adamw")
    assert change.betas is not None and STEPS_AT_BASE * change.steps == STEPS_AT_BASE // kappa
    scaled = {name: BASE[name] * getattr(change, name) for name in ("lr", "eps", "decay")}
    return scaled | {"beta1": change.betas[0], "beta2": change.betas[1]}


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Distances of two means and of two variances, in standard errors."""
    means = (a.mean() - b.mean()) / math.sqrt((a.var() + b.var()) / REPLICAS)
    variances = (a.var() - b.var()) / math.sqrt(2 * (a.var() ** 2 + b.var() ** 2) / REPLICAS)
    return abs(float(means)), abs(float(variances))


@pytest.fixture(scope="module")
def base() -> np.ndarray[Any, Any]:
    return train(1, 0, **BASE)


@pytest.mark.parametrize("kappa", [1, 2, 4, 8])
def test_adam_moves_alike_at_every_batch_under_the_square_root_rule(
    kappa: int, base: np.ndarray[Any, Any]
) -> None:
    assert max(distance(train(kappa, kappa, **by_rule(kappa)), base)) < 4


@pytest.mark.parametrize(
    "fault",
    [
        {"lr": BASE["lr"] * 8},
        {"lr": BASE["lr"]},
        {"eps": BASE["eps"]},
        {"decay": BASE["decay"]},
        {"beta1": BASE["beta1"]},
        {"beta2": BASE["beta2"]},
    ],
    ids=["linear rate", "same rate", "same eps", "same decay", "same beta1", "same beta2"],
)
def test_any_other_rule_moves_adam_differently(
    fault: dict[str, float], base: np.ndarray[Any, Any]
) -> None:
    assert max(distance(train(8, 8, **(by_rule(8) | fault)), base)) > 6


def sgd_moments(lr: float, batch: int, steps: int) -> tuple[float, float]:
    """Exact mean and variance of SGD from 1 on a quadratic of unit curvature, with unit noise."""
    shrink = 1 - lr
    return shrink**steps, lr**2 / batch * (1 - shrink ** (2 * steps)) / (1 - shrink**2)


@pytest.mark.parametrize("kappa", [2, 8, 32])
def test_sgd_at_small_rates_keeps_its_moments_under_the_linear_rule(kappa: int) -> None:
    change = horizon("linear", batch=kappa, optimizer="sgd")
    errors = []
    for lr, steps in ((1 / 3200, 3200), (1 / 12800, 12800)):
        here, there = (
            sgd_moments(lr, 1, steps),
            sgd_moments(lr * change.lr, kappa, round(steps * change.steps)),
        )
        errors.append(max(abs(a / b - 1) for a, b in zip(here, there, strict=True)))
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)
    square_root = sgd_moments(math.sqrt(kappa) / 3200, kappa, 3200 // kappa)
    assert abs(square_root[0] / sgd_moments(1 / 3200, 1, 3200)[0] - 1) > 0.2


# Algebra.


def ratios(name: str) -> st.SearchStrategy[tuple[float, float]]:
    """Pairs of ratios whose square is still in the rule's range."""

    def one(allowed: tuple[float, float] | None) -> st.SearchStrategy[float]:
        if allowed is None:
            return st.just(1.0)
        return st.floats(max(allowed[0], 1e-3) ** 0.5, min(allowed[1], 1e3) ** 0.5)

    rule = HORIZON_RULES[name]
    return st.tuples(one(rule.batch), one(rule.tokens))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.data())
def test_two_changes_after_one_another_are_their_product(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(HORIZON_RULES)))
    (b1, t1), (b2, t2) = data.draw(ratios(name)), data.draw(ratios(name))
    betas = (
        None if HORIZON_RULES[name].half_life else (0.999, 0.99999)
    )  # the rule with a half-life bounds beta2
    once = horizon(name, batch=b1, tokens=t1, betas=betas)
    twice = horizon(name, batch=b2, tokens=t2, betas=once.betas)
    whole = horizon(name, batch=b1 * b2, tokens=t1 * t2, betas=betas)
    for quantity in ("lr", "eps", "decay", "one_minus_beta", "steps"):
        assert getattr(once, quantity) * getattr(twice, quantity) == pytest.approx(
            getattr(whole, quantity), rel=1e-12
        )
    assert (twice.betas is None) == (betas is None)
    assert betas is None or twice.betas == pytest.approx(whole.betas, rel=1e-12)


@pytest.mark.parametrize("batch", [1 / 4, 1, 4])
def test_without_momentum_there_is_none_at_other_batches(batch: float) -> None:
    """The half-life of beta = 0 is 0 steps, which is 0 steps of any length."""
    change = horizon("sde", batch=batch, betas=(0.0, 0.99))
    assert change.betas == pytest.approx((0.0, 1 - 0.01 * batch))
    assert horizon("none", betas=(0.0, 0.95)).betas == (0.0, 0.95)


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_changes_at_the_base(name: str) -> None:
    same = horizon(name, betas=(0.9, 0.95))
    assert (same.lr, same.eps, same.decay, same.one_minus_beta, same.steps, same.betas) == (
        1,
        1,
        1,
        1,
        1,
        (0.9, 0.95),
    )
    assert "stay as they are" in same.explain()


def test_values() -> None:
    longer = horizon("bjorck", tokens=10)
    assert longer.lr == pytest.approx(10**-0.32)
    assert (longer.eps, longer.decay, longer.steps, longer.betas) == (1, 1, 10, None)
    both = horizon("complete-d", batch=4, tokens=16, betas=(0.9, 0.98))
    assert (both.lr, both.eps, both.decay, both.steps) == (0.5, 2, 0.5, 4)
    assert both.betas == pytest.approx((0.975, 0.995))
    marin = horizon("marin", batch=16, tokens=100, betas=(0.9, 0.9999), optimizer="adamh")
    assert marin.lr == pytest.approx(4 * 100**-0.3)
    assert marin.betas == (0.9, 0.9999**16)
    assert horizon("nanochat", batch=2, tokens=6).decay == pytest.approx(math.sqrt(2) / 6)
    assert horizon("sde", batch=Fraction(1, 8)).lr == pytest.approx(8**-0.5)
    assert horizon("none", batch=1000, tokens=1000, steps=5000).lr == 1


def test_decay_that_is_added_to_the_gradient_stays() -> None:
    assert horizon("sde", batch=4, optimizer="adamw").decay == 2
    assert horizon("sde", batch=4, optimizer="Adam").decay == 1


def test_memory_of_the_weights() -> None:
    assert ema_time(0.01, 0.1, 500) == pytest.approx((1000, 2))


def test_a_horizon_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        horizon("none").lr = 2.0  # type: ignore[misc]


def test_the_explanation_has_factors_reasons_and_sources() -> None:
    text = horizon("sde", batch=4, betas=(0.9, 0.99)).explain()
    for part in (
        "rate by 2 (batch^1/2)",
        "eps by 0.5",
        "weight decay by 2",
        "1 - beta by 4",
        "0.6 and 0.96",
        "x0.25",
        "2205.10287",
        "noise",
    ):
        assert part in text
    assert " eps" not in horizon("bjorck", tokens=2).explain().split("This is")[0]


# Refusals.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"rule": "sqrt"}, ["unknown", "'sqrt'", *HORIZON_RULES]),
        ({"rule": "sde", "batch": 0}, ["batch is 0", "positive finite"]),
        ({"rule": "sde", "batch": -2.0}, ["batch is -2.0", "positive finite"]),
        ({"rule": "sde", "batch": math.inf}, ["batch is inf", "positive finite"]),
        ({"rule": "bjorck", "tokens": math.nan}, ["tokens is nan", "positive finite"]),
        ({"rule": "bjorck", "tokens": "2"}, ["tokens is '2'", "positive finite"]),
        ({"rule": "none", "batch": True}, ["batch is True", "positive finite"]),
        ({"rule": "sde", "batch": 8.01}, ["batch ratio 8.01", "0.125 to 8", "simulates"]),
        ({"rule": "sde", "batch": 1 / 9}, ["outside 0.125 to 8"]),
        ({"rule": "linear", "batch": 33}, ["outside", "1706.02677", "8192"]),
        ({"rule": "bjorck", "tokens": 33}, ["tokens ratio 33", "2409.19913", "800 billion"]),
        ({"rule": "complete-d", "tokens": 17}, ["outside", "2512.22382"]),
        ({"rule": "ema", "tokens": 65}, ["outside", "2505.13738"]),
        ({"rule": "marin", "batch": 129}, ["outside", "8192 sequences"]),
        ({"rule": "nanochat", "batch": 3}, ["outside", "2^20"]),
        ({"rule": "sde", "tokens": 2}, ["nothing about tokens", "2205.10287", "bjorck"]),
        ({"rule": "linear", "tokens": 2}, ["nothing about tokens", "1706.02677"]),
        ({"rule": "bjorck", "batch": 2}, ["nothing about batch", "2409.19913", "sde"]),
        (
            {"rule": "sde", "batch": 4, "critical_batch": 0.3},
            ["1.2 times the critical", "2205.10287"],
        ),
        ({"rule": "sde", "batch": 0.5, "critical_batch": 1.5}, ["1.5 times the critical"]),
        ({"rule": "sde", "batch": 4, "critical_batch": 0}, ["critical_batch is 0"]),
        ({"rule": "none", "steps": 4999}, ["4999 steps", "5000", "2203.03466"]),
        ({"rule": "none", "batch": 2, "steps": 8000}, ["4000 steps", "5000"]),
        ({"rule": "none", "steps": 0}, ["steps is 0"]),
        (
            {"rule": "linear", "optimizer": "adamw"},
            ["stated for sgd", "'adamw'", "1706.02677", "sde"],
        ),
        ({"rule": "sde", "optimizer": "lion"}, ["'lion'", "no rule"]),
        ({"rule": "sde", "betas": (1.0, 0.99)}, ["beta1 is 1.0"]),
        ({"rule": "sde", "betas": (0.9, 0.0)}, ["beta2 is 0.0"]),
        ({"rule": "sde", "betas": (0.9, -0.1)}, ["beta2 is -0.1"]),
        ({"rule": "sde", "betas": (0.9, math.nan)}, ["beta2 is nan"]),
        ({"rule": "sde", "batch": 8, "betas": (0.8, 0.99)}, ["beta1 -0.6 from 0.8", "2205.10287"]),
        ({"rule": "sde", "batch": 8, "betas": (0.875, 0.99)}, ["beta1 0 from 0.875"]),
        (
            {"rule": "complete-d", "batch": 8, "betas": (0.9, 0.87)},
            ["beta2 -0.04 from 0.87", "2512.22382"],
        ),
        (
            {"rule": "marin", "batch": 128, "betas": (0.9, 0.999)},
            ["beta2", "from 0.999", "0.9 to 0.9999"],
        ),
    ],
    ids=str,
)
def test_refusals(call: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MutransferError) as refusal:
        horizon(**call)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_ranges_hold_up_to_their_ends(name: str) -> None:
    rule = HORIZON_RULES[name]
    for side in ("batch", "tokens"):
        for end in getattr(rule, side) or ():
            if 0 < end < math.inf:
                assert isinstance(horizon(name, **{side: end}), Horizon)
                with pytest.raises(MutransferError, match="outside"):
                    horizon(name, **{side: end * 1.01 if end > 1 else end / 1.01})


def test_limits_of_batch_and_steps_are_inclusive() -> None:
    assert horizon("sde", batch=4, critical_batch=0.25).lr == 2
    assert horizon("sde", critical_batch=3).lr == 1
    assert horizon("none", tokens=2, steps=5000, optimizer="sgd").steps == 2


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.1, 10), (0.1, 0.0, 10), (0.1, 0.1, 0), (math.nan, 0.1, 10), (0.1, -0.1, 10)]
)
def test_memory_needs_a_rate_a_decay_and_a_run(numbers: tuple[float, float, int]) -> None:
    with pytest.raises(MutransferError, match="positive finite"):
        ema_time(*numbers)


def test_rules_are_data() -> None:
    slower = replace(HORIZON_RULES["bjorck"], lr=powers(tokens="-1/3"))
    assert slower.lr == Powers((("tokens", Fraction(-1, 3)),))
