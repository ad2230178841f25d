"""Closed forms against wide networks, their differential equation, and each other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer import MutransferError
from mutransfer.limits import muP_example, two_layer, two_layer_flow

WIDTH = 1 << 16


@pytest.mark.parametrize(("gamma0", "norm"), [(1.0, 1.0), (2.0, 0.5), (0.3, 2.0)])
def test_two_layers_are_a_wide_network(gamma0: float, norm: float) -> None:
    """Gradient descent on explicit weights W^0 and w, at an input of norm sqrt(D norm)."""
    width, lr, target, steps = 1 << 18, 0.15, 1.3, 8
    random = np.random.default_rng(0)
    dimension = 3
    inner, outer = random.standard_normal((width, dimension)), random.standard_normal(width)
    x = np.array([2.0, -1.0, 0.5])
    x *= math.sqrt(dimension * norm) / np.linalg.norm(x)
    outputs, features, gradients = [], [], []
    for _ in range(steps + 1):
        h = inner @ x / math.sqrt(dimension)
        f = float(outer @ h / (gamma0 * width))
        outputs.append(f)
        features.append(float(np.mean(h**2)))
        gradients.append(float(np.mean(outer**2)))
        rate = lr * gamma0**2 * width * (f - target)
        to_inner = np.outer(outer, x) / (math.sqrt(dimension) * gamma0 * width)
        to_outer = h / (gamma0 * width)
        inner, outer = inner - rate * to_inner, outer - rate * to_outer
    found = two_layer(target, lr=lr, steps=steps, gamma0=gamma0, norm=norm)
    error = 6 / math.sqrt(width) / gamma0
    np.testing.assert_allclose(found.outputs, outputs, atol=error)
    np.testing.assert_allclose(found.features, features, atol=4 * error)
    np.testing.assert_allclose(found.gradients, gradients, atol=4 * error)
    assert outputs[-1] > 0.7 * target


@settings(deadline=None, max_examples=50)
@given(target=st.floats(-2, 2), lr=st.floats(0, 0.4), gamma0=st.floats(0.2, 2))
def test_two_layers_of_norm_one_are_a_turn_of_two_vectors(
    target: float, lr: float, gamma0: float
) -> None:
    """h + g and h - g are multiplied by 1 + q and 1 - q.

    Both begin with the second moment 2 and without overlap.
    """
    found, plus, minus = two_layer(target, lr=lr, steps=6, gamma0=gamma0), 1.0, 1.0
    for t in range(7):
        sizes = np.array([plus**2, minus**2])
        np.testing.assert_allclose(
            [found.features[t], found.gradients[t]], [sizes.mean()] * 2, rtol=1e-10
        )
        f = (sizes[0] - sizes[1]) / 2 / gamma0
        np.testing.assert_allclose(found.outputs[t], f, atol=1e-10 * max(1.0, sizes.max()))
        q = lr * gamma0 * (target - f)
        plus, minus = plus * (1 + q), minus * (1 - q)


@pytest.mark.parametrize("gamma0", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("target", [1.2, -0.4, 0.0])
def test_the_flow_solves_its_equation(gamma0: float, target: float) -> None:
    times, step = np.linspace(0.01, 3, 200), 1e-5
    f = two_layer_flow(target, times, gamma0=gamma0)
    later, earlier = (
        two_layer_flow(target, times + shift, gamma0=gamma0) for shift in (step, -step)
    )
    change = (later - earlier) / (2 * step)
    np.testing.assert_allclose(change, 2 * np.sqrt(1 + gamma0**2 * f**2) * (target - f), atol=1e-7)
    ends = two_layer_flow(target, [0.0, 60.0], gamma0=gamma0)
    np.testing.assert_allclose(ends, [0.0, target], atol=1e-12)


def test_the_flow_of_small_gamma0_is_exponential() -> None:
    times = np.linspace(0, 2, 9)
    for gamma0, error in ((1e-3, 1e-6), (1e-8, 1e-14)):
        flow = two_layer_flow(1.5, times, gamma0=gamma0)
        np.testing.assert_allclose(flow, 1.5 * (1 - np.exp(-2 * times)), atol=error)


def test_the_map_approaches_the_flow_at_first_order() -> None:
    errors = []
    for steps in (100, 200, 400):
        found = two_layer(1.2, lr=2 / steps, steps=steps, gamma0=2.0).outputs
        flow = two_layer_flow(1.2, np.arange(steps + 1) * 2 / steps, gamma0=2.0)
        errors.append(np.abs(found - flow).max())
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2, rtol=0.05)


def wide_example(thetas: list[float], target: float | None = None) -> list[float]:
    """f = V^T U x at x = 1, of arrays V ~ N(0, 1 / n^2) and U ~ N(0, 1) with rates 1 / n and n."""
    random = np.random.default_rng(0)
    u, v = random.standard_normal(WIDTH), random.standard_normal(WIDTH) / WIDTH
    outputs = [float(v @ u)]
    for theta in thetas:
        rate = theta if target is None else theta * (target - outputs[-1])
        u, v = u + rate * WIDTH * v, v + rate * u / WIDTH
        outputs.append(float(v @ u))
    return outputs


@pytest.mark.parametrize(
    "thetas", [[1.0] * 4, [0.5, -0.3, 1.2], []], ids=["ones", "changing", "none"]
)
def test_the_instructive_example_is_that_of_wide_arrays(thetas: list[float]) -> None:
    outputs = wide_example(thetas)
    found = muP_example(thetas)
    error = 8 / math.sqrt(WIDTH) * max(1.0, np.abs(found).max())
    np.testing.assert_allclose(found, outputs, atol=error)


def test_the_instructive_example_has_a_formula() -> None:
    np.testing.assert_allclose(muP_example(1.0, 4), [0, 2, 8, 32, 128], atol=1e-12)
    t = np.arange(6)
    formula = (1.3 ** (2 * t) - 0.7 ** (2 * t)) / 2
    np.testing.assert_allclose(muP_example(0.3, 5), formula, atol=1e-12)
    np.testing.assert_array_equal(muP_example(0.3, 3), muP_example([0.3] * 3))
    np.testing.assert_array_equal(muP_example(1.0, 0), [0.0])


def test_with_feedback_the_instructive_example_is_two_layers() -> None:
    """Fed its own outputs, theta = lr (y - f): in the formula, and with explicit arrays."""
    known = two_layer(1.0, lr=0.3, steps=6).outputs
    np.testing.assert_allclose(muP_example(list(0.3 * (1 - known[:-1]))), known, atol=1e-12)
    np.testing.assert_allclose(wide_example([0.3] * 6, 1.0), known, atol=8 / math.sqrt(WIDTH))
    np.testing.assert_allclose(known[1:3], [0.6, 0.87], atol=0.005)


@pytest.mark.parametrize(
    "change", [{"gamma0": 0.0}, {"gamma0": -1.0}, {"norm": 0.0}, {"steps": -1}], ids=str
)
def test_two_layers_refuse_arguments_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(MutransferError, match="must be positive"):
        two_layer(1.0, **{"lr": 0.1, "steps": 3, **change})  # type: ignore[arg-type]


def test_a_rate_that_is_too_large_is_no_python_error() -> None:
    assert not np.isfinite(two_layer(1.0, lr=10.0, steps=30).outputs).all()


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(MutransferError, match=r"gamma0 is 0\.0"):
        two_layer_flow(1.0, [1.0], gamma0=0.0)
    with pytest.raises(MutransferError, match="steps is None: give how many"):
        muP_example(1.0)
    with pytest.raises(MutransferError, match="steps is -2"):
        muP_example(1.0, -2)
    with pytest.raises(MutransferError, match="leave steps out"):
        muP_example([1.0], 1)
