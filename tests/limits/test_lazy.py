"""The lazy limit: its kernels, and training by them."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError
from mutransfer.limits import Activation, Diverged, Problem, lazy
from tests.models import LimitNetwork, LimitSGD

Array = np.ndarray[Any, np.dtype[np.float64]]
BLOCKS = [(block, block_depth) for block in ("pre", "post") for block_depth in (1, 2)]
EVERY = pytest.mark.parametrize(("block", "block_depth"), BLOCKS)


def problem(**changes: Any) -> Problem:
    inputs, targets = np.random.default_rng(0).normal(size=(3, 5)), np.array([1.0, -1.0, 0.5])
    return Problem(**{"inputs": inputs, "targets": targets, "lr": 0.1, "steps": 6, **changes})


# Kernels


@pytest.mark.parametrize("depth", [0, 1, 2, 7, math.inf])
@pytest.mark.parametrize(("block", "beta0"), [("pre", 0.7), ("post", 0.7), ("pre", 2.0)])
def test_linear_networks_have_closed_kernels(depth: float, block: str, beta0: float) -> None:
    """H^l = (1 + b^2)^l K^x, and K = K^x [2 (1 + b^2)^L + beta0^2 (1 + b^2)^(L - 1)].

    At infinite depth K = K^x e^(beta0^2) (2 + beta0^2).
    """
    p = problem(beta0=beta0, block=block, steps=0)
    strength = beta0**2
    limit = lazy(p, depth)
    if depth == math.inf:
        growth = np.exp(strength * limit.layers)
        total = math.exp(strength) * (2 + strength)
    elif depth == 0:
        growth, total = np.ones(1), 2.0
    else:
        base = 1 + strength / depth
        growth = base ** np.arange(depth + 1)
        total = 2 * base**depth + strength * base ** (depth - 1)
    gradients = np.broadcast_to(growth[::-1, None, None], limit.nngp.shape)
    np.testing.assert_allclose(limit.nngp, growth[:, None, None] * p.gram, rtol=1e-10)
    np.testing.assert_allclose(limit.gradients, gradients, rtol=1e-10)
    np.testing.assert_allclose(limit.ntk, total * p.gram, rtol=1e-10)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_tangent_kernel_is_the_sum_over_tensors(name: str) -> None:
    """K = H^L + sum of (beta0^2 / L) G^l o Phi^(l-1) + G^0 o K^x; layers grow by the same Phi."""
    p = problem(activation=name, beta0=1.5)
    limit = lazy(p, 4)
    hidden = (limit.gradients[1:] * np.diff(limit.nngp, axis=0)).sum(0)
    expected = limit.nngp[-1] + hidden + limit.gradients[0] * p.gram
    np.testing.assert_allclose(limit.ntk, expected, rtol=1e-12)


@EVERY
@pytest.mark.parametrize("name", ["relu", "abs", "erf"])
def test_kernels_differ_from_those_of_infinite_depth_by_one_over_depth(
    name: str, block: str, block_depth: int
) -> None:
    p = problem(activation=name, block=block, block_depth=block_depth)
    infinite = lazy(p, math.inf)
    errors = [depth * np.abs(lazy(p, depth).ntk - infinite.ntk).max() for depth in (64, 128)]
    assert errors[1] == pytest.approx(errors[0], rel=0.03)
    assert errors[0] > 0.05
    finite = lazy(p, 512)
    np.testing.assert_allclose(finite.nngp[::32], infinite.nngp, atol=0.15)
    np.testing.assert_allclose(finite.gradients[::32], infinite.gradients, atol=0.15)


def test_infinite_depth_is_the_extrapolation_of_finite_depths() -> None:
    p = problem(activation="relu", weight_decay=0.3)
    coarse, middle, fine = (lazy(p, depth).outputs for depth in (128, 256, 512))
    expected = (8 * fine - 6 * middle + coarse) / 3
    np.testing.assert_allclose(lazy(p, math.inf).outputs, expected, atol=1e-7)


def test_branches_weaker_than_root_depth_only_add_tangents() -> None:
    p = problem(activation="erf", alpha=0.75)
    infinite, deep = lazy(p, math.inf), lazy(p, 4096)
    np.testing.assert_allclose(infinite.nngp[-1], p.gram, rtol=1e-12)
    np.testing.assert_array_equal(infinite.gradients, 1.0)
    one_branch = lazy(problem(activation="erf"), 1).nngp
    np.testing.assert_allclose(infinite.ntk, 2 * p.gram + one_branch[1] - one_branch[0], rtol=1e-10)
    np.testing.assert_allclose(deep.ntk, infinite.ntk, atol=5 / math.sqrt(4096))


def test_an_own_activation_with_a_known_name_has_no_closed_form() -> None:
    twice = Activation("relu", lambda x: 2 * np.maximum(x, 0.0), lambda x: 2.0 * (x > 0))
    doubled = lazy(problem(activation=twice, beta0=0.5), 3)
    known = lazy(problem(activation="relu", beta0=1.0), 3)
    np.testing.assert_allclose(doubled.ntk, known.ntk, atol=2e-3)


# Networks


def network_kernels(p: Problem, depth: int, width: int, seed: int) -> Array:
    """Kernels of one network: <h h'> and <g g'> of every layer, then the tangent kernel.

    Returns:
        (2 layers + 1, examples, examples).
    """
    network = LimitNetwork(p, depth, width, seed)
    outputs, layers = network(torch.tensor(p.inputs, requires_grad=True))
    backward = torch.autograd.grad(outputs.sum(), layers, retain_graph=True)
    kernels = [h @ h.T / width for h in layers] + [width * g @ g.T for g in backward]
    tensors, rates = zip(*network.rates(), strict=True)
    per_output = (torch.autograd.grad(f, tensors, retain_graph=True) for f in outputs)
    flat = [torch.stack(gradients).flatten(1) for gradients in zip(*per_output, strict=True)]
    tangent = sum(
        rate * gradients @ gradients.T for rate, gradients in zip(rates, flat, strict=True)
    )
    return torch.stack([*kernels, tangent]).detach().numpy()


def z_scores(draws: Array, exact: Array, bias: float) -> Array:
    """Distances of the mean of draws from `exact`, in standard errors.

    Args:
        draws: (draws, ...).
        exact: (...).
        bias: Distance that is allowed, relative to the largest entry.
    """
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    beyond = np.abs(draws.mean(0) - exact) - bias * np.abs(exact).max()
    return beyond.clip(0) / np.maximum(error, 1e-12)


@EVERY
@pytest.mark.parametrize("name", ["relu", "abs", "tanh", "gelu"])
def test_wide_networks_have_these_kernels(name: str, block: str, block_depth: int) -> None:
    width, depth = 320, 3
    p = problem(activation=name, block=block, block_depth=block_depth, beta0=1.2)
    exact = lazy(p, depth)
    draws = np.array([network_kernels(p, depth, width, seed) for seed in range(12)])
    expected = np.concatenate([exact.nngp, exact.gradients, exact.ntk[None]])
    assert (draws.std(0) < 0.5 * np.abs(expected).max((1, 2), keepdims=True)).all()
    assert z_scores(draws, expected, bias=2 / width).max() < 5


SHARES = {
    "train_input": lambda limit, gram: limit.gradients[0] * gram,
    "train_readout": lambda limit, gram: limit.nngp[-1],
}
"""What a tensor adds to the tangent kernel."""


@pytest.mark.parametrize("frozen", SHARES)
def test_frozen_tensors_are_left_out(frozen: str) -> None:
    p, without = problem(activation="erf"), problem(activation="erf", **{frozen: False})
    for depth in (3, math.inf):
        limit = lazy(p, depth)
        expected = limit.ntk - SHARES[frozen](limit, p.gram)
        np.testing.assert_allclose(lazy(without, depth).ntk, expected, atol=1e-10)


def test_hidden_rates_weigh_the_hidden_tangents() -> None:
    """Above alpha = 1/2 hidden rates grow by L^(2 alpha - 1), so that L layers still add up."""
    p = problem(activation="erf", alpha=1.0, train_input=False, train_readout=False)
    draws = np.array([network_kernels(p, 4, 256, seed)[-1] for seed in range(16)])
    assert z_scores(draws, lazy(p, 4).ntk, bias=2 / 256).max() < 5


# Training


def test_plain_descent_follows_the_tangent_kernel() -> None:
    p = problem(activation="relu", loss="logistic", targets=np.array([1.0, -1.0, 1.0]))
    limit = lazy(p, 3)
    f = np.zeros(3)
    for step in range(p.steps):
        np.testing.assert_allclose(limit.outputs[step], f, atol=1e-12)
        f = f + p.lr * limit.ntk @ (p.targets / (1 + np.exp(p.targets * f))) / 3
    np.testing.assert_allclose(limit.losses, p.losses(limit.outputs))
    assert limit.losses[-1] < limit.losses[0]


@pytest.mark.parametrize("depth", [0, 3, math.inf])
def test_decaying_linear_networks_have_closed_trajectories(depth: float) -> None:
    """Every layer multiplies by 1 + b^2 q, where weights shrink to k(t), and q = k(t) k(s)."""
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
            kernel = (2 * readout + hidden)[step + 1, s] * p.gram
            outputs[step + 1] += 0.2 * 0.9 ** (step - s) * kernel @ pull
    np.testing.assert_allclose(lazy(p, depth).outputs, outputs, rtol=1e-9)


def by_torch(p: Problem, depth: int, width: int, seed: int) -> Array:
    """Outputs of a network of small gamma0 that torch trains.

    It is two networks with opposite readouts: outputs begin at 0, and weights that only shrink
    keep them there.
    """
    one = LimitNetwork(p, depth, width, seed)
    other = copy.deepcopy(one)
    other.output.data.neg_()
    inputs, optimizer, outputs = torch.tensor(p.inputs), LimitSGD(p, one, other), []
    for step in range(p.steps + 1):
        f = sum(network(inputs)[0] for network in (one, other)) / math.sqrt(2)
        outputs.append(f.detach().numpy().copy())
        if step < p.steps:
            optimizer.zero_grad()
            f.backward(gradient=torch.as_tensor(-p.pull(step, outputs[-1])))
            optimizer.step()
    return np.array(outputs)


SCHEDULE = [1.0, 0.5, 2.0, 1.0, 1.0, 0.5]
BATCHES = [[0, 1], [2, 1], [0, 0], [1, 2], [2, 2], [0, 1]]


@pytest.mark.parametrize(
    ("block", "block_depth", "name", "training"),
    [
        ("pre", 1, "relu", {"weight_decay": 0.3}),
        ("pre", 2, "tanh", {"weight_decay": 0.3, "momentum": 0.5}),
        ("post", 1, "abs", {"weight_decay": 0.3, "schedule": SCHEDULE, "alpha": 1.0}),
        ("post", 2, "gelu", {"weight_decay": 0.3, "momentum": 0.4, "nesterov": True}),
        ("post", 2, "relu", {"weight_decay": 0.3, "batches": BATCHES}),
    ],
)
def test_wide_networks_of_small_gamma0_train_like_this(
    block: str, block_depth: int, name: str, training: dict[str, Any]
) -> None:
    width, depth = 320, 2
    network = {"activation": name, "block": block, "block_depth": block_depth, "lr": 0.3}
    p = problem(**network, **training, gamma0=1e-3)
    draws = np.array([by_torch(p, depth, width, seed) for seed in range(10)])
    exact = lazy(p, depth).outputs
    assert z_scores(draws, exact, bias=2 / width).max() < 5
    undecayed = lazy(problem(**network, **training | {"weight_decay": 0}), depth)
    assert z_scores(draws, undecayed.outputs, bias=2 / width).max() > 8


def test_gamma0_is_taken_to_its_limit() -> None:
    np.testing.assert_array_equal(
        lazy(problem(gamma0=3.0), 2).outputs, lazy(problem(gamma0=0.1), 2).outputs
    )


# Refusals


def test_a_rate_that_is_too_large_is_refused() -> None:
    with pytest.raises(Diverged, match="smaller lr") as caught:
        lazy(problem(lr=50.0), 2)
    assert 1 <= caught.value.step <= 6


@pytest.mark.parametrize(
    ("changes", "depth", "message"),
    [({}, -1, "depth is -1"), ({}, 1.5, "depth is 1.5"), ({"alpha": 0.0}, math.inf, "alpha = 0")],
)
def test_unknown_depths_are_refused(changes: dict[str, Any], depth: float, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        lazy(problem(**changes), depth)


def test_branches_without_depth_scaling_have_finite_depths() -> None:
    p = problem(alpha=0.0)
    np.testing.assert_allclose(lazy(p, 3).ntk, p.gram * (2 * 2**3 + 3 * 2**2))


def test_no_steps_give_the_kernels_and_the_start() -> None:
    limit = lazy(problem(steps=0), 2)
    assert (
        limit.outputs.shape == (1, 3)
        and limit.losses.shape == (1,)
        and limit.nngp.shape == (3, 3, 3)
    )
