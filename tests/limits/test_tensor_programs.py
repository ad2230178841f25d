"""Tensor Programs VI's linear recursion.

Against wide networks, one linear system, and its own convergence in depth.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.limits import LinearRecursion, linear_recursion

INPUTS = (1.0, -0.6, 1.3, 0.8, -1.1, 0.9)
TARGETS = (1.0, -1.0, 1.0, 1.0, -1.0, -1.0)
SLOPES: dict[str, Callable[[int, float], float]] = {
    "mse": lambda step, output: output - TARGETS[step],
    "logistic": lambda step, output: -TARGETS[step] / (1 + math.exp(TARGETS[step] * output)),
    "huber": lambda step, output: max(-0.5, min(0.5, output - TARGETS[step])),
    "unchecked growth": lambda step, output: -1.0,
}


@cache
def solved(loss: str, depth: int, lr: float = 0.4, branch: float = 0.9) -> LinearRecursion:
    return linear_recursion(INPUTS, SLOPES[loss], depth, lr, branch)


def network(
    loss: str, depth: int, width: int, seeds: int, lr: float = 0.4, branch: float = 0.9
) -> tuple[Any, Any]:
    """Outputs (seeds, steps) and kernels (seeds, steps, steps, 2, layers) of trained networks."""
    random = np.random.default_rng(0)
    u, v = random.standard_normal((2, seeds, width))
    weights = random.standard_normal((depth, seeds, width, width)) / math.sqrt(width)
    outputs, fields = [], []
    for step, xi in enumerate(INPUTS):
        x, dx = [u * xi], [v]
        for w in weights:
            x.append(x[-1] + branch / math.sqrt(depth) * np.einsum("sij,sj->si", w, x[-1]))
        for w in weights[::-1]:
            dx.insert(0, dx[0] + branch / math.sqrt(depth) * np.einsum("sij,si->sj", w, dx[0]))
        f = (v * x[-1]).mean(-1)
        chi = np.array([SLOPES[loss](step, output) for output in f])[:, None]
        for layer in range(depth):
            gradient = (chi * dx[layer + 1])[:, :, None] * x[layer][:, None] / width
            weights[layer] -= lr * branch / math.sqrt(depth) * gradient
        outputs.append(f)
        fields.append((x, [chi * gradient for gradient in dx]))
    kernels = np.einsum("talsn,ualsn->stual", np.array(fields), np.array(fields)) / width
    return np.array(outputs).T, kernels


def one_system(loss: str, depth: int, lr: float = 0.4, branch: float = 0.9) -> tuple[Any, Any]:
    """The self-consistent equations as one linear system of all layers and times.

    It is solved again until nothing changes.
    """
    steps, layers = len(INPUTS), depth + 1
    size, scale = layers * steps, branch / math.sqrt(depth)
    x = np.arange(size).reshape(layers, steps)
    dx = x + size
    noise, outputs = np.zeros((2 * size, 2 * size)), np.zeros(steps)
    fields = np.zeros((2 * size, 2 * size))
    noise[np.ix_(x[0], x[0])] = np.outer(INPUTS, INPUTS)
    for _ in range(200):
        chi = np.array([SLOPES[loss](step, output) for step, output in enumerate(outputs)])
        known, rows = fields @ noise @ fields.T, np.zeros((2 * size, 2 * size))
        noise[np.ix_(dx[-1], dx[-1])] = np.outer(chi, chi)
        for a, b in pairwise(x):
            g = b + size
            forward = scale**2 * fields[np.ix_(a, g - steps)] - lr * scale**2 * known[np.ix_(a, a)]
            backward = scale**2 * fields[np.ix_(g, b)] - lr * scale**2 * known[np.ix_(g, g)]
            rows[b, a], rows[g - steps, g] = 1.0, 1.0
            rows[np.ix_(b, g)] = np.tril(forward, -1)
            rows[np.ix_(g - steps, a)] = np.tril(backward, -1)
            noise[np.ix_(b, b)] = scale**2 * known[np.ix_(a, a)]
            noise[np.ix_(g - steps, g - steps)] = scale**2 * known[np.ix_(g, g)]
        fields = np.linalg.inv(np.eye(2 * size) - rows)
        before, outputs = outputs, fields[np.ix_(x[-1], dx[-1])] @ chi
        again = fields @ noise @ fields.T
        if np.abs(outputs - before).max() <= 1e-14 and np.abs(again - known).max() <= 1e-14:
            break
    cube = known.reshape(2, layers, steps, 2, layers, steps)
    return outputs, np.einsum("altalu->tual", cube)


@pytest.mark.parametrize("loss", SLOPES)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_recursion_solves_the_self_consistent_equations(loss: str, depth: int) -> None:
    outputs, kernels = one_system(loss, depth)
    found = solved(loss, depth)
    np.testing.assert_allclose(found.outputs, outputs, atol=1e-12)
    np.testing.assert_allclose(found.kernels, kernels, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "logistic"])
def test_the_recursion_is_the_limit_of_wide_networks(loss: str) -> None:
    """One network is off by width^-1/2, the mean over seeds by 1 / width, also in its kernels."""
    limit, scaled, biases = solved(loss, 3), [], []
    for width, seeds in ((32, 800), (128, 200)):
        trained = network(loss, 3, width, seeds)
        for drawn, exact in zip(trained, (limit.outputs, limit.kernels), strict=True):
            error = drawn - exact
            scaled.append(width * float((error**2).mean()))
            spread = drawn.std(0) / math.sqrt(seeds)
            biases.append(np.abs(error.mean(0)) - 4 * spread)
    assert scaled[2] == pytest.approx(scaled[0], rel=0.5)
    assert scaled[3] == pytest.approx(scaled[1], rel=0.5)
    assert biases[2].max() < 5 / 128
    assert biases[3].max() < 5 / 128 * float(np.abs(limit.kernels).max())


@pytest.mark.parametrize("loss", SLOPES)
def test_the_recursion_approaches_infinite_depth_as_one_over_depth(loss: str) -> None:
    """Proposition 4.4: depth |f_depth - f_(2 depth)| settles at every step.

    So do the last features and the first gradients.
    """
    depths = (8, 16, 32, 64)
    limits = [solved(loss, depth, lr=0.2, branch=0.7) for depth in depths]
    for values in (
        [limit.outputs for limit in limits],
        [limit.kernels[..., 0, -1] for limit in limits],
        [limit.kernels[..., 1, 0] for limit in limits],
    ):
        gaps = [
            depth * (deeper - shallower)
            for depth, (shallower, deeper) in zip(depths, pairwise(values), strict=False)
        ]
        changes = [np.abs(deeper - shallower).max() for shallower, deeper in pairwise(gaps)]
        first, last = np.array(changes) / np.abs(gaps[-1]).max()
        assert last < 0.08
        assert last < 0.7 * first


def test_one_branch_is_a_linear_model() -> None:
    """With one matrix the output is linear in it: gradient descent of a kernel model."""
    found = solved("mse", 1)
    for t, xi in enumerate(INPUTS):
        kernel = 0.9**2 * xi * np.dot(found.slopes[:t], INPUTS[:t])
        assert found.outputs[t] == pytest.approx(-0.4 * kernel)


def test_gamma_and_kernels_have_the_documented_entries() -> None:
    depth, branch = 4, 0.9
    found, xi = solved("mse", depth), np.array(INPUTS)
    steps = len(xi)
    assert found.gamma.shape == (steps, 1 + steps, 2, 2, 1 + depth, depth)
    assert found.kernels.shape == (steps, steps, 2, 1 + depth)
    np.testing.assert_allclose(found.kernels[:, :, 0, 0], np.outer(xi, xi))
    np.testing.assert_allclose(found.kernels[:, :, 1, -1], np.outer(found.slopes, found.slopes))
    growth = (1 + branch**2 / depth) ** np.arange(1 + depth)
    np.testing.assert_allclose(found.kernels[0, 0, 0], xi[0] ** 2 * growth)
    np.testing.assert_array_equal(found.outputs, found.gamma[:, 0, 0, 1, -1, 0])
    np.testing.assert_array_equal(found.gamma[:, 0, 1, 1, -1, 0], found.slopes)
    t, r = np.indices((steps, steps))
    # No step depends on the Gaussian vectors of a later one, features not on the backward pass
    # after them, and in a linear network the backward pass not on the forward pass.
    assert not found.gamma[:, 1:][r > t].any()
    assert not found.gamma[:, 1:, 0, 1][r == t].any()
    assert not found.gamma[:, 1:, 1, 0][r == t].any()


def test_learning_is_first_order_in_a_small_rate() -> None:
    depth, lr, branch = 6, 1e-6, 0.9
    found = linear_recursion([0.7, -1.2], lambda step, output: 2.0, depth, lr, branch)
    kernel = branch**2 * 0.7 * -1.2 * (1 + branch**2 / depth) ** (depth - 1)
    assert found.outputs[1] / lr == pytest.approx(-2.0 * kernel, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": []}, "inputs have the shape"),
        ({"inputs": [[1.0]]}, "inputs have the shape"),
        ({"inputs": [math.nan]}, "inputs have the shape"),
        ({"inputs": ["a"]}, "inputs are not numbers"),
        ({"depth": 0}, "at least 1"),
        ({"depth": math.inf}, "at least 1"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"branch": math.nan}, "branch is nan"),
        ({"lr": 1e200}, "diverges at step"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good = {"inputs": INPUTS, "slope": SLOPES["mse"], "depth": 3}
    with pytest.raises(MutransferError, match=message):
        linear_recursion(**(good | change))
