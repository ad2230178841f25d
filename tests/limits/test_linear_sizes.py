"""Linear networks of infinite width, against finite width and finite depth."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mutransfer.limits import linear, simulate
from tests.limits.linear_problems import problem

Array = np.ndarray[Any, np.dtype[np.float64]]


# Networks of finite width


WIDTHS = {64: 150, 128: 100, 256: 50, 512: 16, 1024: 4}


@cache
def squares(gamma0: float) -> list[Array]:
    """The mean squared distance of every network from the limit, by width."""
    p = problem(gamma0=gamma0, steps=8, lr=0.2)
    limit = linear(p, 4).outputs
    return [
        ((simulate(p, width, 4, seeds) - limit) ** 2).mean((1, 2))
        for width, seeds in WIDTHS.items()
    ]


def test_networks_differ_from_the_limit_by_one_over_the_width() -> None:
    """Width * MSE(f) is about 1 from 64 to 2048, so one network is off by width^-1/2."""
    errors_of, widths = squares(1.0), np.array([*WIDTHS])
    random = np.random.default_rng(0)

    def slope(draws: list[Array]) -> float:
        spread = np.array([draw.std() / draw.mean() / len(draw) ** 0.5 for draw in errors_of])
        means = np.log([draw.mean() for draw in draws])
        return float(np.polyfit(np.log(widths), means, 1, w=1 / spread)[0])

    resampled = [slope([random.choice(draw, len(draw)) for draw in errors_of]) for _ in range(300)]
    low, high = np.quantile(resampled, [0.005, 0.995])
    assert high - low < 0.4
    assert low < -1 < high
    constants = widths * [draw.mean() for draw in errors_of]
    errors = widths * [draw.std(ddof=1) / len(draw) ** 0.5 for draw in errors_of]
    mean = np.average(constants, weights=errors**-2)
    assert (np.abs(constants - mean) < 4 * errors).all()
    assert 0.3 < mean < 2


def test_the_mean_over_networks_is_biased_by_one_over_the_width() -> None:
    """Width times the root mean square of the bias is constant, of order 1."""
    p = problem(steps=8, lr=0.2)
    limit, constants = linear(p, 2).outputs, []
    for width in (16, 32):
        outputs = simulate(p, width, 2, 1000)
        noise = outputs.var(0, ddof=1) / 1000
        squares = (outputs.mean(0) - limit) ** 2 - noise
        constants.append(width * float(np.sqrt(squares.mean())))
    assert constants[0] == pytest.approx(constants[1], rel=0.25)
    assert 0.3 < constants[0] < 2


TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "logistic": {"loss": "logistic", "lr": 0.6},
    "momentum": {"momentum": 0.8, "lr": 0.1},
    "decay": {"weight_decay": 0.8},
    "schedule": {"schedule": lambda step: 1 - step / 8, "lr": 0.3},
    "batches": {"batches": [[step % 4, (step + 1) % 4] for step in range(8)]},
    "frozen": {"train_input": False, "train_readout": False, "lr": 0.6},
    "strong branches": {"alpha": 0.0, "lr": 0.1, "beta0": 0.6},
    "weak branches": {"alpha": 1.0},
    "everything": {
        "gamma0": 2.5,
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.3,
        "lr": 0.1,
    },
}


@pytest.mark.parametrize("training", TRAININGS)
def test_networks_approach_the_limit_of_their_training(training: str) -> None:
    """N * MSE is the same at both widths; the mean is this limit but for a bias of order 1 / N."""
    plain = problem(steps=8, lr=0.2)
    p = replace(plain, **TRAININGS[training])
    other = linear(plain if training != "plain" else replace(plain, lr=0.22), 2).outputs
    limit, scaled = linear(p, 2).outputs, []
    for width, seeds in ((64, 120), (256, 40)):
        outputs = simulate(p, width, 2, seeds)
        errors = width * ((outputs - limit) ** 2).mean((1, 2))
        scaled.append((errors.mean(), errors.std(ddof=1) / seeds**0.5))
        error, bias = outputs.std(0) / seeds**0.5, 4 / width * np.abs(limit).max()
        assert (np.abs(outputs.mean(0) - limit) < 4 * error + bias).all()
    assert (np.abs(outputs.mean(0) - other) > 4 * error + bias).any()
    (narrow, first), (wide, second) = scaled
    assert abs(narrow - wide) < 3 * math.hypot(first, second) + 0.2 * wide


# Depth


DEPTHS = (4, 8, 16, 32, 64)


def settles(values: list[float], share: float) -> bool:
    """Return whether changes shrink, the last to this share of the value."""
    changes = np.abs(np.diff(values))
    return bool((changes[1:] < changes[:-1]).all() and changes[-1] < share * values[-1])


@pytest.mark.parametrize("gamma0", [0.5, 2.0])
def test_finite_depth_is_off_by_one_over_the_depth(gamma0: float) -> None:
    """Depth times the error settles: on other data at .29 for gamma0 = .5, and at .41 for 2."""
    p = problem(gamma0=gamma0, steps=10)
    infinite = linear(p, math.inf, nodes=16)
    limits = [linear(p, depth) for depth in DEPTHS]
    outputs = [
        depth * float(np.sqrt(((limit.outputs - infinite.outputs) ** 2).mean()))
        for depth, limit in zip(DEPTHS, limits, strict=True)
    ]
    assert settles(outputs, 0.05)
    assert 0.1 < outputs[-1] < 1
    for at, name in ((-1, "features"), (0, "gradients")):
        kernels = [
            depth * float(np.abs(getattr(limit, name)[at] - getattr(infinite, name)[at]).max())
            for depth, limit in zip(DEPTHS, limits, strict=True)
        ]
        assert settles(kernels, 0.08)


@pytest.mark.parametrize(("alpha", "power"), [(0.75, 0.5), (1.0, 1.0)])
def test_weaker_branches_approach_infinite_depth_with_their_noise(
    alpha: float, power: float
) -> None:
    """Their noise is depth^(1 - 2 alpha)."""
    p = problem(alpha=alpha, steps=10)
    infinite = linear(p, math.inf).outputs
    scaled = [
        depth**power * float(np.abs(linear(p, depth).outputs - infinite).max()) for depth in DEPTHS
    ]
    assert scaled[-1] == pytest.approx(scaled[-2], rel=0.03)
    assert scaled[-1] > 0.05


def test_infinite_depth_converges_in_its_nodes_within_its_error() -> None:
    p = problem(steps=10)
    exact = linear(p, math.inf, nodes=32).outputs
    limits = [linear(p, math.inf, nodes=nodes, accuracy=math.inf) for nodes in (1, 2, 4, 8)]
    errors = [np.abs(limit.outputs - exact).max() for limit in limits]
    assert all(before > 4 * after for before, after in pairwise(errors[1:]))
    assert errors[2] / errors[3] > 6
    for limit, error in zip(limits[1:], errors[1:], strict=True):
        assert limit.outputs_error.shape == exact.shape
        assert error < limit.outputs_error.max() < 20 * error
    assert errors[-1] < 5e-4


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.4}, {"lr": 0.1, "gamma0": 2.0}, {"lr": 0.05, "beta0": 1.5}],
    ids=["large rate", "strong learning", "large branches"],
)
def test_infinite_depth_is_refined_until_it_settles(change: dict[str, float]) -> None:
    """More branches are taken where 8, 16 and 32 are too few.

    The error of a deep stack is its difference from one of half the depth.
    """
    p = problem(steps=10, **change)
    rough, refined = linear(p, math.inf, accuracy=math.inf), linear(p, math.inf)
    deep, half = linear(p, 192).outputs, linear(p, 96).outputs
    allowed = 3e-3 * np.abs(deep).max() + refined.outputs_error.max()
    assert np.abs(refined.outputs - (2 * deep - half)).max() < allowed
    assert refined.outputs_error.max() < rough.outputs_error.max()
    assert refined.losses_error.shape == refined.losses.shape and refined.losses_error.max() > 0


def test_layers_and_responses_of_infinite_depth_are_those_of_deep_stacks() -> None:
    """Features, gradients and responses of 64 branches are half as far off as those of 32."""
    p = problem(steps=10)
    infinite = linear(p, math.inf, nodes=4, accuracy=math.inf)
    stacks = [linear(p, depth) for depth in (32, 64)]
    np.testing.assert_allclose(infinite.layers, np.linspace(0, 1, 5))
    for name in ("features", "gradients"):
        gaps = [
            np.abs(getattr(stack, name)[:: depth // 4] - getattr(infinite, name)).max()
            for depth, stack in zip((32, 64), stacks, strict=True)
        ]
        assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.4)
    for name, end in (("forward", 0), ("backward", 1)):
        gaps = []
        for depth, stack in zip((32, 64), stacks, strict=True):
            kept = stack.responses[name][end * (depth // 4 - 1) :: depth // 4]
            gaps.append(np.abs(math.sqrt(depth) * kept - infinite.responses[name]).max())
        assert gaps[1] < 0.1 * np.abs(infinite.responses[name]).max()
        assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.5)
