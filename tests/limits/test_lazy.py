"""The lazy limit: its Gaussian expectations, its kernels and its training."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mutransfer import MutransferError
from mutransfer.limits._activations import ACTIVATIONS, Activation, Array
from mutransfer.limits._kernels import expectations
from mutransfer.limits._lazy import lazy
from mutransfer.limits._limit import Diverged
from mutransfer.limits._problem import Problem

BLOCKS = [(block, block_depth) for block in ("pre", "post") for block_depth in (1, 2)]
EVERY = pytest.mark.parametrize(("block", "block_depth"), BLOCKS)
TORCH = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "abs": torch.abs,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": torch.nn.functional.gelu,
}


def problem(**changes: Any) -> Problem:
    draw = np.random.default_rng(0)
    return Problem(**{"inputs": draw.normal(size=(3, 5)), "targets": np.array([1.0, -1.0, 0.5]), "lr": 0.1, "steps": 6, **changes})


def renamed(name: str) -> Activation:
    """A user's activation, which gets no closed form even under the library's name."""
    return Activation(name, ACTIVATIONS[name].value, ACTIVATIONS[name].slope)


def covariance(correlation: float, first: float, second: float) -> Array:
    shared = correlation * math.sqrt(first * second)
    return np.array([[first, shared], [shared, second]])


# Gaussian expectations


def polar(phi: Activation, matrix: Array) -> tuple[Array, Array]:
    """Both expectations of an activation that is positively homogeneous, as one integral over the angle of (u, v) whitened."""
    low = np.linalg.cholesky(matrix)
    kinks = np.sort([(np.arctan2(-row[0], row[1]) + turn) % (2 * np.pi) for row in low for turn in (0, np.pi)])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    value = slope = np.zeros((2, 2))
    for start, end in zip(kinks, [*kinks[1:], kinks[0] + 2 * np.pi], strict=True):
        angle = start + (end - start) * (nodes + 1) / 2
        along = low @ [np.cos(angle), np.sin(angle)]
        each = weights * (end - start) / 2 / (2 * np.pi)
        value = value + 2 * np.einsum("ia,ja,a->ij", phi.value(along), phi.value(along), each)
        slope = slope + np.einsum("ia,ja,a->ij", phi.slope(along), phi.slope(along), each)
    return value, slope


@pytest.mark.parametrize("name", ["relu", "abs"])
@pytest.mark.parametrize("correlation", [-0.999, -0.5, 0.0, 0.3, 0.99])
def test_arc_cosine_kernels_are_the_integrals_over_the_angle(name: str, correlation: float) -> None:
    matrix = covariance(correlation, 0.7, 2.5)
    found = expectations(ACTIVATIONS[name], matrix)
    value, slope = polar(ACTIVATIONS[name], matrix)
    np.testing.assert_allclose(found.value, value, atol=1e-13)
    np.testing.assert_allclose(found.slope, slope, atol=1e-13)
    np.testing.assert_allclose(found.mean, np.sqrt(np.diag(matrix) / (2 * np.pi)) * (2 if name == "abs" else 1), atol=1e-14)


@pytest.mark.parametrize("name", ["linear", "erf"])
@pytest.mark.parametrize("correlation", [-1.0, -0.6, 0.0, 0.9, 1.0])
def test_closed_forms_are_the_series(name: str, correlation: float) -> None:
    matrix = covariance(correlation, 0.3, 9.0)
    for closed, summed in zip(expectations(ACTIVATIONS[name], matrix), expectations(renamed(name), matrix), strict=True):
        np.testing.assert_allclose(closed, summed, atol=1e-11)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
@pytest.mark.parametrize("variance", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("correlation", [-1.0, -0.7, 0.2, 0.99, 1.0])
def test_series_are_double_integrals(name: str, variance: float, correlation: float) -> None:
    phi = ACTIVATIONS[name]
    nodes = np.linspace(-9.5, 9.5, 700)
    weights = np.exp(-(nodes**2) / 2) * (nodes[1] - nodes[0]) / math.sqrt(2 * math.pi)
    u = math.sqrt(variance) * nodes[:, None]
    v = math.sqrt(variance / 2) * (correlation * nodes[:, None] + math.sqrt(1 - correlation**2) * nodes)
    found = expectations(phi, covariance(correlation, variance, variance / 2))
    np.testing.assert_allclose(found.value[0, 1], weights @ (phi.value(u) * phi.value(v)) @ weights, atol=1e-10)
    np.testing.assert_allclose(found.slope[0, 1], weights @ (phi.slope(u) * phi.slope(v)) @ weights, atol=1e-10)
    np.testing.assert_allclose(found.mean[0], weights @ phi.value(u)[:, 0], atol=1e-12)


def test_a_kink_of_ones_own_is_known_to_what_is_promised() -> None:
    for correlation, slopes in ((0.9, 1e-4), (0.999, 2e-2), (1.0, 1e-4)):
        matrix = covariance(correlation, 1.0, 2.0)
        own, closed = expectations(renamed("relu"), matrix), expectations(ACTIVATIONS["relu"], matrix)
        assert np.abs(own.value - closed.value).max() < 1e-4
        assert 0 < np.abs(own.slope - closed.slope).max() < slopes


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_variable_that_does_not_vary_is_zero(name: str) -> None:
    phi = ACTIVATIONS[name]
    found = expectations(phi, np.diag([0.0, 2.0]))
    value, slope = phi.value(np.zeros(1)), phi.slope(np.zeros(1))
    np.testing.assert_allclose([found.value[0, 0], found.slope[0, 0], found.mean[0]], [value[0] ** 2, slope[0] ** 2, value[0]])
    draws = math.sqrt(2) * np.random.default_rng(0).normal(size=100_000)
    np.testing.assert_allclose(found.slope[0, 1], slope[0] * phi.slope(draws).mean(), atol=0.01)


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from(sorted(ACTIVATIONS)), root=arrays(float, (4, 3), elements=st.floats(-2, 2, width=32)))
def test_expectations_are_kernels(name: str, root: Array) -> None:
    matrix = root @ root.T
    found = expectations(ACTIVATIONS[name], (matrix + matrix.T) / 2)
    for kernel in (found.value, found.slope, found.value - np.multiply.outer(found.mean, found.mean)):
        np.testing.assert_array_equal(kernel, kernel.T)
        assert np.linalg.eigvalsh(kernel).min() > -1e-6
    assert (np.diag(found.value) >= found.mean**2 - 1e-12).all()


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["linear", "relu", "abs"]),
    scale=st.floats(1e-3, 1e3),
    correlation=st.floats(-1, 1),
    second=st.floats(0.01, 10),
)
def test_homogeneous_activations_scale(name: str, scale: float, correlation: float, second: float) -> None:
    matrix = covariance(correlation, 1.0, second)
    once, scaled = expectations(ACTIVATIONS[name], matrix), expectations(ACTIVATIONS[name], scale**2 * matrix)
    np.testing.assert_allclose(scaled.value, scale**2 * once.value, atol=1e-12 * scale**2)
    np.testing.assert_allclose(scaled.slope, once.slope, atol=1e-7)
    np.testing.assert_allclose(scaled.mean, scale * once.mean)


# Kernels


@pytest.mark.parametrize("depth", [0, 1, 2, 7, math.inf])
@pytest.mark.parametrize(("block", "beta0"), [("pre", 0.7), ("post", 0.7), ("pre", 2.0)])
def test_linear_networks_have_closed_kernels(depth: float, block: str, beta0: float) -> None:
    """Theory: H^l = (1 + b^2)^l K^x, and K = K^x [2 (1 + b^2)^L + beta0^2 (1 + b^2)^(L - 1)] -> K^x e^(beta0^2) (2 + beta0^2)."""
    p = problem(beta0=beta0, block=block, steps=0)
    strength = beta0**2
    found = lazy(p, depth)
    if depth == math.inf:
        growth, total = np.exp(strength * found.layers), math.exp(strength) * (2 + strength)
    elif depth == 0:
        growth, total = np.ones(1), 2.0
    else:
        base = 1 + strength / depth
        growth, total = base ** np.arange(depth + 1), 2 * base**depth + strength * base ** (depth - 1)
    np.testing.assert_allclose(found.nngp, growth[:, None, None] * p.gram, rtol=1e-10)
    np.testing.assert_allclose(found.gradients, np.broadcast_to(growth[::-1, None, None], found.nngp.shape), rtol=1e-10)
    np.testing.assert_allclose(found.ntk, total * p.gram, rtol=1e-10)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_tangent_kernel_is_the_sum_over_tensors(name: str) -> None:
    """Theory: K = H^L + sum of (beta0^2 / L) G^l o Phi^(l-1) + G^0 o K^x."""
    p = problem(activation=name, beta0=1.5)
    found = lazy(p, 4)
    hidden = sum(g * expectations(p.phi, h).value for g, h in zip(found.gradients[1:], found.nngp[:-1], strict=True))
    np.testing.assert_allclose(found.ntk, found.nngp[-1] + 1.5**2 / 4 * hidden + found.gradients[0] * p.gram, rtol=1e-12)


@EVERY
@pytest.mark.parametrize("name", ["relu", "abs", "erf"])
def test_kernels_approach_those_of_infinite_depth_as_one_over_depth(name: str, block: str, block_depth: int) -> None:
    p = problem(activation=name, block=block, block_depth=block_depth)
    infinite = lazy(p, math.inf)
    errors = np.array([64 * np.abs(lazy(p, 64).ntk - infinite.ntk).max(), 128 * np.abs(lazy(p, 128).ntk - infinite.ntk).max()])
    assert errors[1] == pytest.approx(errors[0], rel=0.03)
    assert errors[0] > 0.05
    finite = lazy(p, 512)
    for of_depth, of_infinity in ((finite.nngp, infinite.nngp), (finite.gradients, infinite.gradients)):
        np.testing.assert_allclose(of_depth[::32], of_infinity, atol=0.15)


def test_infinite_depth_is_the_extrapolation_of_finite_depths() -> None:
    p = problem(activation="relu", weight_decay=0.3)
    coarse, middle, fine = (lazy(p, depth).outputs for depth in (128, 256, 512))
    np.testing.assert_allclose(lazy(p, math.inf).outputs, (8 * fine - 6 * middle + coarse) / 3, atol=1e-7)


def test_branches_weaker_than_the_root_of_the_depth_vanish_but_for_the_tangents() -> None:
    p = problem(activation="erf", alpha=0.75)
    infinite, deep = lazy(p, math.inf), lazy(p, 4096)
    np.testing.assert_allclose(infinite.nngp[-1], p.gram, rtol=1e-12)
    np.testing.assert_array_equal(infinite.gradients, 1.0)
    np.testing.assert_allclose(infinite.ntk, 2 * p.gram + expectations(ACTIVATIONS["erf"], p.gram).value, rtol=1e-10)
    np.testing.assert_allclose(deep.ntk, infinite.ntk, atol=5 / math.sqrt(4096))


def test_an_activation_of_the_librarys_name_is_taken_as_it_is() -> None:
    twice = Activation("relu", lambda x: 2 * np.maximum(x, 0.0), lambda x: 2.0 * (x > 0))
    np.testing.assert_allclose(
        lazy(problem(activation=twice, beta0=0.5), 3).ntk, lazy(problem(activation="relu", beta0=1.0), 3).ntk, atol=2e-3
    )


# Networks


class Network:
    """The network of Problem's docstring with its tensors' rates over lr; gamma0 is 1 unless given."""

    def __init__(self, p: Problem, depth: int, width: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.p, self.depth, self.width = p, depth, width
        shapes = [(width, p.inputs.shape[1]), *[(width, width)] * (depth * p.block_depth), (width,)]
        self.tensors = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
        hidden = depth ** max(0.0, 2 * p.alpha - 1) if depth else 1.0
        self.rates = [float(p.train_input), *[hidden] * (len(shapes) - 2), float(p.train_readout)]

    def features(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        p, phi = self.p, TORCH[self.p.phi.name]
        x = torch.as_tensor(p.inputs)
        layers = [x @ tensors[0].T / math.sqrt(x.shape[1])]
        for layer in range(self.depth):
            h = layers[-1]
            for matrix in tensors[1 + layer * p.block_depth :][: p.block_depth]:
                h = phi(h) @ matrix.T / math.sqrt(self.width) if p.block == "pre" else phi(h @ matrix.T / math.sqrt(self.width))
            if p.block == "post":
                h = h - h.mean(1, keepdim=True)
            layers.append(layers[-1] + p.beta0 * self.depth**-p.alpha * h)
        return layers

    def outputs(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return self.features(tensors)[-1] @ tensors[-1] / self.width

    def kernels(self) -> Array:
        """<h h'> and <g g'> of every layer, then the tangent kernel; (2 layers + 1, examples, examples)."""
        tensors = [tensor.requires_grad_() for tensor in self.tensors]
        layers = self.features(tensors)
        outputs = layers[-1] @ tensors[-1] / self.width
        backward = torch.autograd.grad(outputs.sum(), layers, retain_graph=True)
        found = [h @ h.T / self.width for h in layers] + [self.width * g @ g.T for g in backward]
        gradients = zip(*[torch.autograd.grad(f, tensors, retain_graph=True) for f in outputs], strict=True)
        flat = [torch.stack(each).flatten(1) for each in gradients]
        tangent = self.width * sum(rate * each @ each.T for rate, each in zip(self.rates, flat, strict=True))
        return torch.stack([*found, tangent]).detach().numpy()


def z_scores(draws: Array, exact: Array, bias: float) -> Array:
    """Of the mean of draws, its error bar widened by a bias of this size relative to the kernel's largest entry."""
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    return (np.abs(draws.mean(0) - exact) - bias * np.abs(exact).max()).clip(0) / np.maximum(error, 1e-12)


@EVERY
@pytest.mark.parametrize("name", ["relu", "abs", "tanh", "gelu"])
def test_wide_networks_have_these_kernels(name: str, block: str, block_depth: int) -> None:
    width, depth = 320, 3
    p = problem(activation=name, block=block, block_depth=block_depth, beta0=1.2)
    exact = lazy(p, depth)
    draws = np.array([Network(p, depth, width, seed).kernels() for seed in range(12)])
    expected = np.concatenate([exact.nngp, exact.gradients, exact.ntk[None]])
    assert (draws.std(0) < 0.5 * np.abs(expected).max((1, 2), keepdims=True)).all()
    assert z_scores(draws, expected, bias=2 / width).max() < 5


@pytest.mark.parametrize("frozen", ["train_input", "train_readout"])
def test_frozen_tensors_are_left_out(frozen: str) -> None:
    p = problem(activation="erf")
    share = {"train_input": lambda k: k.gradients[0] * p.gram, "train_readout": lambda k: k.nngp[-1]}[frozen]
    for depth in (3, math.inf):
        every = lazy(p, depth)
        np.testing.assert_allclose(lazy(problem(activation="erf", **{frozen: False}), depth).ntk, every.ntk - share(every), atol=1e-10)


def test_hidden_rates_weigh_the_hidden_tangents() -> None:
    """Above alpha = 1/2 hidden rates grow by L^(2 alpha - 1), so that L layers still add up to something."""
    p = problem(activation="erf", alpha=1.0, train_input=False, train_readout=False)
    draws = np.array([Network(p, 4, 256, seed).kernels()[-1] for seed in range(16)])
    assert z_scores(draws, lazy(p, 4).ntk, bias=2 / 256).max() < 5


# Training


def test_plain_descent_follows_the_tangent_kernel() -> None:
    p = problem(activation="relu", loss="logistic", targets=np.array([1.0, -1.0, 1.0]))
    found = lazy(p, 3)
    f = np.zeros(3)
    for step in range(p.steps):
        np.testing.assert_allclose(found.outputs[step], f, atol=1e-12)
        f = f + p.lr * found.ntk @ (p.targets / (1 + np.exp(p.targets * f))) / 3
    np.testing.assert_allclose(found.losses, p.losses(found.outputs))
    assert found.losses[-1] < found.losses[0]


@pytest.mark.parametrize("depth", [0, 3, math.inf])
def test_decaying_linear_networks_have_closed_trajectories(depth: float) -> None:
    """Weights at times t and s shrunk to k and k' times the initial ones: with q = k k', every layer multiplies by 1 + b^2 q."""
    p = problem(weight_decay=0.5, lr=0.2)
    kept = 0.9 ** np.arange(p.steps + 1)
    q = np.multiply.outer(kept, kept)
    if depth == math.inf:
        readout, hidden = q * np.exp(q), q**2 * np.exp(q)
    else:
        b2 = 1 / max(depth, 1)
        readout, hidden = q * (1 + b2 * q) ** depth, q**2 * b2 * depth * (1 + b2 * q) ** (depth - 1)
    outputs, pulls = np.zeros((p.steps + 1, 3)), []
    for step in range(p.steps):
        pulls.append((p.targets - outputs[step]) / 3)
        for s, pull in enumerate(pulls):
            outputs[step + 1] += 0.2 * 0.9 ** (step - s) * (2 * readout + hidden)[step + 1, s] * p.gram @ pull
    np.testing.assert_allclose(lazy(p, depth).outputs, outputs, rtol=1e-9)


def trained(p: Problem, depth: int, width: int, seed: int) -> Array:
    """A network of small gamma0, trained by torch. It is two of opposite readouts, so that the outputs begin at 0 and weights that only
    shrink keep them there."""
    network = Network(p, depth, width, seed)
    halves = [[tensor.clone().requires_grad_() for tensor in network.tensors] for _ in range(2)]
    halves[1][-1].data.neg_()
    rate = p.gamma0**2 * width
    groups = [
        {"params": pair, "lr": p.lr * rate * factor, "weight_decay": p.weight_decay / (rate * factor)}
        for factor, *pair in zip(network.rates, *halves, strict=True)
        if factor
    ]
    optimizer = torch.optim.SGD(groups, lr=p.lr, momentum=p.momentum, nesterov=p.nesterov)
    first = [group["lr"] for group in groups]
    found = []
    for step in range(p.steps + 1):
        f = sum(network.outputs(half) for half in halves) / (math.sqrt(2) * p.gamma0)
        found.append(f.detach().numpy().copy())
        if step < p.steps:
            optimizer.zero_grad()
            f.backward(gradient=torch.as_tensor(-p.pull(step, found[-1])))
            for group, lr in zip(optimizer.param_groups, first, strict=True):
                group["lr"] = lr * p.rates[step] / p.lr
            optimizer.step()
    return np.array(found)


@pytest.mark.parametrize(
    ("block", "block_depth", "name", "training"),
    [
        ("pre", 1, "relu", {"weight_decay": 0.3}),
        ("pre", 2, "tanh", {"weight_decay": 0.3, "momentum": 0.5}),
        ("post", 1, "abs", {"weight_decay": 0.3, "schedule": [1.0, 0.5, 2.0, 1.0, 1.0, 0.5], "alpha": 1.0}),
        ("post", 2, "gelu", {"weight_decay": 0.3, "momentum": 0.4, "nesterov": True}),
        ("post", 2, "relu", {"weight_decay": 0.3, "batches": [[0, 1], [2, 1], [0, 0], [1, 2], [2, 2], [0, 1]]}),
    ],
)
def test_wide_networks_of_small_gamma0_train_like_this(block: str, block_depth: int, name: str, training: dict[str, Any]) -> None:
    width, depth = 320, 2
    p = problem(activation=name, block=block, block_depth=block_depth, lr=0.3, gamma0=1e-3, **training)
    draws = np.array([trained(p, depth, width, seed) for seed in range(10)])
    exact = lazy(p, depth).outputs
    assert z_scores(draws, exact, bias=2 / width).max() < 5
    forgotten = lazy(
        problem(**{**training, "activation": name, "block": block, "block_depth": block_depth, "lr": 0.3, "weight_decay": 0}), depth
    )
    assert z_scores(draws, forgotten.outputs, bias=2 / width).max() > 8


def test_gamma0_is_taken_to_its_limit() -> None:
    np.testing.assert_array_equal(lazy(problem(gamma0=3.0), 2).outputs, lazy(problem(gamma0=0.1), 2).outputs)


# What cannot be solved


def test_a_rate_that_is_too_large_is_refused() -> None:
    with pytest.raises(Diverged, match="smaller lr") as caught:
        lazy(problem(lr=50.0), 2)
    assert 1 <= caught.value.step <= 6


@pytest.mark.parametrize(
    ("changes", "depth", "message"),
    [({}, -1, "depth is -1"), ({}, 1.5, "depth is 1.5"), ({"alpha": 0.0}, math.inf, "alpha = 0")],
)
def test_what_is_no_depth_is_refused(changes: dict[str, Any], depth: float, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        lazy(problem(**changes), depth)


def test_branches_without_depth_scaling_have_finite_depths() -> None:
    p = problem(alpha=0.0)
    np.testing.assert_allclose(lazy(p, 3).ntk, p.gram * (2 * 2**3 + 3 * 2**2))


def test_no_steps_give_the_kernels_and_the_start() -> None:
    found = lazy(problem(steps=0), 2)
    assert found.outputs.shape == (1, 3) and found.losses.shape == (1,) and found.nngp.shape == (3, 3, 3)
