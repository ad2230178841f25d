"""Networks of infinite width with any activation, against what they must reduce to.

Linear solvers, the lazy limit, and networks of finite width.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mutransfer.limits import Problem, lazy, linear, nonlinear, simulate
from tests.limits.by_torch import by_torch
from tests.limits.nonlinear_problems import CASES, Array, networks, problem, solved

TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.7, "nesterov": True, "lr": 0.1},
    "decay": {"weight_decay": 0.4},
    "batches": {"batches": [[0], [1], [0], [0], [1], [1]]},
    "schedule": {"schedule": [1.0, 0.5, 0.0, 2.0, 1.0, 0.5]},
    "frozen": {"train_input": False, "train_readout": False, "lr": 0.6},
    "logistic": {"loss": "logistic", "lr": 0.6, "alpha": 1.0},
}


# Linear networks have no sampling error


@pytest.mark.parametrize("training", TRAININGS)
def test_linear_networks_are_solved_exactly(training: str) -> None:
    p = problem(**TRAININGS[training], block="post" if training == "plain" else "pre")
    exact, limit = linear(p, 3), nonlinear(p, 3, repetitions=2, accuracy=1e-6)
    assert np.abs(exact.outputs).max() > 0.2
    np.testing.assert_allclose(limit.outputs, exact.outputs, atol=1e-8)
    np.testing.assert_allclose(limit.losses, exact.losses, atol=1e-8)
    np.testing.assert_allclose(limit.features, exact.features, atol=1e-8)
    gradients = np.broadcast_to(exact.gradients[:, :, None, :, None], limit.gradients.shape)
    np.testing.assert_allclose(limit.gradients, gradients, atol=1e-8)
    assert limit.outputs_error.max() < 1e-8 and limit.losses_error.max() < 1e-8


@pytest.mark.parametrize("depth", [0, 1])
def test_shallow_linear_networks_are_solved_exactly(depth: int) -> None:
    limit = nonlinear(problem(gamma0=2.0, lr=0.2), depth, repetitions=2)
    exact = linear(problem(gamma0=2.0, lr=0.2), depth)
    np.testing.assert_allclose(limit.outputs, exact.outputs, atol=1e-8)
    assert limit.layers.shape == (depth + 1,)


def test_parallel_inputs_are_solved_exactly() -> None:
    """The Gram matrix has no inverse."""
    p = problem(inputs=[[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]], targets=[1.0, 0.5, -1.0], lr=0.05)
    limit, exact = nonlinear(p, 2, repetitions=2), linear(p, 2)
    np.testing.assert_allclose(limit.outputs, exact.outputs, atol=1e-8)


def test_linear_networks_of_infinite_depth_are_extrapolated() -> None:
    """Stacks of `nodes`, twice and four times as many branches leave an error of 1 / nodes^3."""
    p = problem(steps=3)
    exact = linear(p, math.inf, nodes=32).outputs
    coarse, fine = (
        nonlinear(p, math.inf, repetitions=2, nodes=nodes, accuracy=1.0) for nodes in (2, 4)
    )
    assert np.abs(coarse.outputs - exact).max() > 4 * np.abs(fine.outputs - exact).max()
    np.testing.assert_allclose(coarse.layers, [0, 0.5, 1])
    stacks = [linear(p, depth).outputs for depth in (2, 4, 8)]
    third, second = (stacks[0] - 6 * stacks[1] + 8 * stacks[2]) / 3, 2 * stacks[2] - stacks[1]
    np.testing.assert_allclose(coarse.outputs, third, atol=1e-8)
    np.testing.assert_allclose(coarse.outputs_error, np.abs(coarse.outputs - second), atol=1e-8)


def test_infinite_depth_is_as_accurate_as_was_asked() -> None:
    p = problem(steps=8, lr=0.15)
    exact = linear(p, math.inf, nodes=32).losses
    limit = nonlinear(p, math.inf, repetitions=2, accuracy=0.004)
    assert np.abs(limit.losses - exact).max() < 0.004 * exact[0]
    assert len(limit.layers) > len(nonlinear(p, math.inf, repetitions=2, accuracy=1.0).layers)


# Networks of finite width


@pytest.mark.parametrize("case", CASES)
def test_networks_differ_from_the_limit_by_one_over_the_width(case: str) -> None:
    """Width * MSE(f) is constant, and the mean over networks is off by order 1 / width."""
    limit, constants, errors = solved(case), [], []
    for width, outputs in networks(case).items():
        squares = width * ((outputs - limit.outputs) ** 2).mean((1, 2))
        constants.append(squares.mean())
        errors.append(squares.std(ddof=1) / len(squares) ** 0.5)
        spread = np.hypot(outputs.std(0, ddof=1) / len(outputs) ** 0.5, limit.outputs_error)
        assert (np.abs(outputs.mean(0) - limit.outputs) < 4.5 * spread + 3 / width).all()
    gaps, last = np.abs(np.array(constants) - constants[-1]), constants[-1]
    assert (gaps < 4 * np.hypot(errors, errors[-1]) + 0.1 * last).all()
    assert 0.1 < last < 3


@pytest.mark.parametrize("training", ["momentum", "decay", "batches", "frozen", "logistic"])
def test_networks_approach_the_limit_of_their_training(training: str) -> None:
    p = problem(activation="tanh", **TRAININGS[training])
    limit, outputs = nonlinear(p, 2, accuracy=0.02), simulate(p, 128, 2, 150)
    spread = np.hypot(outputs.std(0, ddof=1) / 150**0.5, limit.outputs_error)
    assert (np.abs(outputs.mean(0) - limit.outputs) < 4.5 * spread + 3 / 128).all()
    other = nonlinear(problem(activation="tanh"), 2, accuracy=0.02)
    assert (np.abs(outputs.mean(0) - other.outputs) > 8 * spread + 3 / 128).any()


@pytest.mark.parametrize("case", ["tanh", "relu post of two"])
def test_kernels_are_those_of_wide_networks(case: str) -> None:
    p, width, seeds, limit = problem(**CASES[case]), 256, 24, solved(case)
    runs = [by_torch(p, width, 2, seed) for seed in range(seeds)]
    for name in ("features", "gradients"):
        exact, fields = getattr(limit, name), np.array([getattr(run, name) for run in runs])
        assert exact.shape == (3, 7, 2, 7, 2)
        kernels = np.einsum("nltaw,nlsbw->nltasb", fields, fields) / width
        spread = kernels.std(0, ddof=1) / seeds**0.5
        largest = np.abs(exact).max((1, 2, 3, 4), keepdims=True)
        sampled = 5 * largest / math.sqrt(4 * limit.samples)
        assert (np.abs(kernels.mean(0) - exact) < 5 * spread + sampled + 5 / width).all()


class GaussianProcess:
    """Gaussian fields with the covariance of the fields that they answer to, and no response."""

    def __init__(self, random: np.random.Generator, sites: int) -> None:
        self.random, self.fields, self.values = random, np.empty((sites, 0)), np.empty((sites, 0))

    def __call__(self, fields: Array) -> Array:
        for field in fields.T:
            known = np.linalg.lstsq(self.fields, field, rcond=None)[0]
            rest = np.sqrt(np.mean((field - self.fields @ known) ** 2))
            value = self.values @ known + rest * self.random.standard_normal(len(field))
            self.fields = np.column_stack([self.fields, field])
            self.values = np.column_stack([self.values, value])
        return self.values[:, -fields.shape[1] :]


def without_responses(p: Problem, depth: int, sites: int, seed: int) -> Array:
    """Outputs of tanh networks whose initial matrices ignore what they did on the other side."""
    random, examples = np.random.default_rng(seed), len(p.targets)
    forward, backward = ([GaussianProcess(random, sites) for _ in range(depth)] for _ in range(2))
    embedding = random.standard_normal((sites, examples)) @ np.linalg.cholesky(p.gram).T
    readout = random.standard_normal((sites, 1))
    # Inputs x and signals y of every matrix, features of the last layer and gradients of the first.
    xs, ys = ([np.empty((sites, 0)) for _ in range(depth)] for _ in range(2))
    first, last, pulls = np.empty((sites, 0)), np.empty((sites, 0)), np.empty(0)
    outputs, b = [], depth**-0.5

    def learned(made: Array, seen: Array, field: Array) -> Array:
        return made @ (pulls[:, None] * (seen.T @ field / sites))

    for step in range(p.steps + 1):
        h = embedding + first @ (pulls[:, None] * np.tile(p.gram, (step, 1)))
        slopes = []
        for layer in range(depth):
            x = np.tanh(h)
            slopes.append(1 - x**2)
            h = h + b * (forward[layer](x) + learned(ys[layer], xs[layer], x))
            xs[layer] = np.column_stack([xs[layer], x])
        w = readout + last @ pulls[:, None]
        outputs.append((w * h).mean(0) / p.gamma0)
        last, g = np.column_stack([last, h]), np.repeat(w, examples, 1)
        for layer in reversed(range(depth)):
            y, inputs = b * g, xs[layer][:, : step * examples]
            g = g + slopes[layer] * (backward[layer](y) + learned(inputs, ys[layer], y))
            ys[layer] = np.column_stack([ys[layer], y])
        first = np.column_stack([first, g])
        pulls = np.append(pulls, p.lr * p.gamma0 * p.pull(step, outputs[-1]))
    return np.array(outputs)


def test_a_solver_that_drops_the_responses_is_not_the_limit() -> None:
    """Dropping them moves f by a root mean square of .04 to .08, which no more samples repair."""
    exact, p = solved("tanh"), problem(**CASES["tanh"])
    runs = np.array([without_responses(p, 2, 20_000, seed) for seed in range(12)])
    wrong, spread = runs.mean(0), runs.std(0, ddof=1) / len(runs) ** 0.5
    error = np.hypot(exact.outputs_error, spread)[1:]
    assert (np.abs(wrong - exact.outputs)[1:] / error).max() > 15
    assert float(np.sqrt(((wrong - exact.outputs) ** 2).mean())) > 0.02
    outputs = networks("tanh")[128]
    spread = np.hypot(outputs.std(0, ddof=1) / len(outputs) ** 0.5, spread)
    assert (np.abs(outputs.mean(0) - wrong) > 4.5 * spread + 3 / 128).any()


# The lazy limit


@pytest.mark.parametrize("case", [case for case in CASES if case != "softplus post"])
def test_small_gamma0_is_lazy(case: str) -> None:
    p = problem(**CASES[case], gamma0=1e-3, weight_decay=0.2, steps=4)
    kernel, limit = lazy(p, 2), nonlinear(p, 2, accuracy=0.08, repetitions=8)
    assert np.abs(kernel.outputs).max() > 0.2
    assert (np.abs(limit.outputs - kernel.outputs) < 5 * limit.outputs_error + 1e-3).all()
    assert limit.outputs_error.max() < 0.05
    moved = nonlinear(replace(p, gamma0=2.0), 2, accuracy=0.1)
    assert (np.abs(moved.outputs - kernel.outputs) > 5 * moved.outputs_error + 1e-3).any()
