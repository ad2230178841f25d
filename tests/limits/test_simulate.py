"""Networks of finite width against the same networks trained by torch, with explicit weights and autograd."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer import MutransferError
from mutransfer.limits import Loss, Problem, simulate
from mutransfer.limits import _simulate as module
from mutransfer.limits._simulate import FiniteDraw, trained

TORCH = {"linear": lambda x: x, "relu": torch.relu, "abs": torch.abs, "tanh": torch.tanh, "gelu": nn.functional.gelu}
BLOCKS = [("pre", 1), ("pre", 2), ("post", 1), ("post", 2)]
WIDTH, DEPTH = 10, 3
BATCHES = [[0, 1], [2, 2], [1, 2], [0, 2], [1, 1]]
SCHEDULE = [1.0, 0.3, 2.0, 0.0, 1.5]


def problem(**changes: Any) -> Problem:
    draw = np.random.default_rng(3)
    given = {"inputs": draw.normal(size=(3, 4)), "targets": np.array([1.0, -1.0, 0.5]), "lr": 0.2, "steps": 5, "gamma0": 1.4, "beta0": 0.8}
    return Problem(**{**given, **changes})


class Network(nn.Module):
    """The network of Problem's docstring."""

    def __init__(self, p: Problem, depth: int, width: int, seed: int) -> None:
        super().__init__()
        self.p, self.depth, self.width = p, depth, width
        draw = FiniteDraw.of(p, width, depth, [seed])
        self.input, self.output = (nn.Parameter(torch.tensor(each[0])) for each in (draw.input, draw.output))
        self.hidden = nn.ParameterList([torch.tensor(each[0]) for each in draw.hidden])
        self.input.requires_grad_(p.train_input)
        self.output.requires_grad_(p.train_readout)

    def branch(self, h: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
        phi = TORCH[self.p.phi.name]
        for matrix in matrices:
            h = phi(h) @ matrix.T / math.sqrt(self.width) if self.p.block == "pre" else phi(h @ matrix.T / math.sqrt(self.width))
        return h - h.mean(1, keepdim=True) if self.p.block == "post" else h

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        p, matrices = self.p, list(self.hidden)
        layers = [x @ self.input.T / math.sqrt(x.shape[1])]
        for start in range(0, len(matrices), p.block_depth):
            layers.append(layers[-1] + p.beta0 / self.depth**p.alpha * self.branch(layers[-1], matrices[start : start + p.block_depth]))
        return layers[-1] @ self.output / (p.gamma0 * self.width), layers


LOSS = {
    "mse": lambda f, y: 0.5 * ((f - y) ** 2).mean(),
    "logistic": lambda f, y: nn.functional.softplus(-y * f).mean(),
    "cosh": lambda f, y: torch.cosh(f - y).mean(),
}


def by_torch(p: Problem, depth: int, width: int, seed: int) -> tuple[Any, Any, Any]:
    """Outputs (times, examples), features and gradients (layers, times, width, examples) of a network trained by torch.optim.SGD."""
    network = Network(p, depth, width, seed)
    rate = p.lr * p.gamma0**2 * width
    decay = p.weight_decay / (p.gamma0**2 * width)
    correction = depth ** (2 * p.alpha - 1) if p.alpha > 0.5 and depth else 1.0
    groups = [
        {"params": [each for each in (network.input, network.output) if each.requires_grad], "lr": rate, "weight_decay": decay},
        {"params": list(network.hidden), "lr": rate * correction, "weight_decay": decay / correction},
    ]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], lr=rate, momentum=p.momentum, nesterov=p.nesterov)
    first = [group["lr"] for group in optimizer.param_groups]
    inputs, targets = torch.tensor(p.inputs, requires_grad=True), torch.tensor(p.targets)
    outputs, features, gradients = [], [], []
    for step in range(p.steps + 1):
        f, layers = network(inputs)
        back = torch.autograd.grad(f.sum(), layers, retain_graph=True)
        outputs.append(f.detach().numpy().copy())
        features.append(np.stack([h.detach().numpy().T for h in layers]))
        gradients.append(np.stack([p.gamma0 * width * g.numpy().T for g in back]))
        if step == p.steps:
            break
        batch = list(range(len(targets))) if p.batches is None else list(p.batches[step])
        if optimizer.param_groups:
            optimizer.zero_grad()
            LOSS[p.objective.name](f[batch], targets[batch]).backward()
            for group, lr in zip(optimizer.param_groups, first, strict=True):
                factor = 1.0 if p.schedule is None else (p.schedule(step) if callable(p.schedule) else p.schedule[step])
                group["lr"] = lr * factor
            optimizer.step()
    return np.array(outputs), np.stack(features, 1), np.stack(gradients, 1)


def agrees(p: Problem, depth: int = DEPTH, width: int = WIDTH) -> None:
    """Outputs, features and gradients of two networks agree with torch's, and something moved."""
    seeds = (0, 11)
    found = trained(p, width, depth, seeds)
    np.testing.assert_array_equal(simulate(p, width, depth, seeds), found.outputs)
    for i, seed in enumerate(seeds):
        outputs, features, gradients = by_torch(p, depth, width, seed)
        assert np.abs(outputs[-1] - outputs[0]).max() > 0.01
        scale = max(1.0, np.abs(outputs).max(), np.abs(features).max(), np.abs(gradients).max())
        np.testing.assert_allclose(found.outputs[i], outputs, atol=1e-12 * scale, rtol=0)
        shape = (width, p.steps + 1, len(p.targets))
        for own, theirs in ((found.features, features), (found.gradients, gradients)):
            stacked = np.stack([each[i].reshape(shape).transpose(1, 0, 2) for each in own])
            np.testing.assert_allclose(stacked, theirs, atol=1e-12 * scale, rtol=0)


@pytest.mark.parametrize(("block", "block_depth"), BLOCKS)
@pytest.mark.parametrize("activation", TORCH)
def test_every_branch_trains_as_with_explicit_weights(activation: str, block: str, block_depth: int) -> None:
    agrees(problem(activation=activation, block=block, block_depth=block_depth))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("block", ["pre", "post"])
def test_every_depth_scaling_has_its_rates_and_decay(alpha: float, block: str) -> None:
    agrees(problem(alpha=alpha, block=block, activation="tanh", weight_decay=0.4, momentum=0.5, lr=0.1))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"train_input": False}, id="frozen input"),
        pytest.param({"train_readout": False}, id="frozen readout"),
        pytest.param({"train_input": False, "train_readout": False, "momentum": 0.5}, id="hidden weights alone"),
        pytest.param({"loss": "logistic", "targets": [1.0, -1.0, -1.0], "lr": 0.8}, id="logistic"),
        pytest.param({"loss": Loss("cosh", lambda f, y: np.cosh(f - y), lambda f, y: np.sinh(f - y))}, id="a loss of one's own"),
        pytest.param({"momentum": 0.9}, id="momentum"),
        pytest.param({"momentum": 0.7, "nesterov": True}, id="nesterov"),
        pytest.param({"weight_decay": 0.8}, id="decay"),
        pytest.param({"schedule": SCHEDULE}, id="schedule"),
        pytest.param({"schedule": lambda step: 1 / (1 + step)}, id="schedule by step"),
        pytest.param({"batches": BATCHES}, id="batches"),
        pytest.param({"inputs": [0.5, -1.0, 2.0]}, id="inputs of one dimension"),
        pytest.param({"lr": 1.5, "gamma0": 0.3}, id="a large rate"),
    ],
)
def test_every_way_of_training_is_that_of_torch(change: dict[str, Any]) -> None:
    agrees(problem(activation="tanh", **change))


EVERYTHING = {
    "loss": "logistic",
    "targets": [1.0, -1.0, -1.0],
    "activation": "gelu",
    "block": "post",
    "block_depth": 2,
    "alpha": 0.75,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.3,
    "schedule": SCHEDULE,
    "batches": BATCHES,
}


def test_everything_at_once_is_that_of_torch() -> None:
    agrees(problem(**EVERYTHING))


@pytest.mark.parametrize("frozen", [["train_input"], ["train_readout"], ["train_input", "train_readout"]], ids="+".join)
def test_a_frozen_tensor_does_not_decay(frozen: list[str]) -> None:
    agrees(problem(activation="tanh", weight_decay=0.3, **dict.fromkeys(frozen, False)))
    agrees(problem(**EVERYTHING, **dict.fromkeys(frozen, False)))


@pytest.mark.parametrize("depth", [0, 1])
def test_networks_without_depth_train_as_well(depth: int) -> None:
    agrees(problem(activation="tanh", alpha=1.0, weight_decay=0.2), depth=depth)


def test_a_network_is_the_same_whatever_is_trained_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(**EVERYTHING)
    together = simulate(p, WIDTH, DEPTH, [5, 0, 2])
    np.testing.assert_allclose(together[2], simulate(p, WIDTH, DEPTH, [2])[0], atol=1e-14)
    np.testing.assert_allclose(together[[1, 2]], simulate(p, WIDTH, DEPTH, 3)[[0, 2]], atol=1e-14)
    assert np.abs(together[0] - together[1]).max() > 0.01
    monkeypatch.setattr(module, "_LARGEST", 1)
    np.testing.assert_allclose(simulate(p, WIDTH, DEPTH, [5, 0, 2]), together, atol=1e-14)


def test_other_sizes_have_other_weights() -> None:
    p = problem(steps=0)
    assert np.abs(simulate(p, 8, 2) - simulate(p, 8, 3)).max() > 1e-3
    assert simulate(p, 8, 2).shape == (1, 1, 3)


def test_outputs_before_training_vary_as_the_limit_tells() -> None:
    """f(0) is a Gaussian of variance (1 + b^2)^L K^x / (gamma0^2 N) at large width."""
    p, width = problem(steps=0), 64
    outputs = simulate(p, width, 2, 600)[:, 0]
    exact = (1 + 0.8**2 / 2) ** 2 * p.gram / (p.gamma0**2 * width)
    products = outputs[:, :, None] * outputs[:, None]
    assert (np.abs(products.mean(0) - exact) < 5 * products.std(0) / math.sqrt(600)).all()


def test_a_network_that_diverges_is_not_finite() -> None:
    outputs = simulate(problem(lr=50.0, steps=30), WIDTH, DEPTH)
    assert np.isfinite(outputs[0, 0]).all() and not np.isfinite(outputs[0, -1]).all()


@pytest.mark.parametrize(
    ("width", "depth", "seeds", "said"),
    [
        (0, 2, 1, "width 0, depth 2"),
        (4, math.inf, 1, "a finite depth"),
        (4, 2, 0, "at least one seed"),
        (4, 2, [], "at least one seed"),
        (4, -1, 1, "depth is -1"),
        (4, 1.5, 1, "depth is 1.5"),
        (4, math.nan, 1, "depth is nan"),
    ],
    ids=["no width", "infinite depth", "zero seeds", "empty seeds", "negative depth", "half a branch", "no number"],
)
def test_refuses_sizes_that_are_none(width: int, depth: float, seeds: Any, said: str) -> None:
    with pytest.raises(MutransferError, match=said):
        simulate(problem(), width, depth, seeds)
