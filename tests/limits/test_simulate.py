"""Networks of finite width: the training of torch, with explicit weights and autograd."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from mutransfer import MutransferError
from mutransfer.limits import Loss, Problem, _simulate, network_stream, simulate
from tests.limits.by_torch import by_torch

BLOCKS = [("pre", 1), ("pre", 2), ("post", 1), ("post", 2)]
WIDTH, DEPTH = 10, 3
BATCHES = [[0, 1], [2, 2], [1, 2], [0, 2], [1, 1]]
SCHEDULE = [1.0, 0.3, 2.0, 0.0, 1.5]


def problem(**changes: Any) -> Problem:
    inputs, targets = np.random.default_rng(3).normal(size=(3, 4)), np.array([1.0, -1.0, 0.5])
    training = {"lr": 0.2, "steps": 5, "gamma0": 1.4, "beta0": 0.8}
    return Problem(**{"inputs": inputs, "targets": targets, **training, **changes})


COSH = Loss("cosh", lambda f, y: np.cosh(f - y), lambda f, y: np.sinh(f - y))


def agrees(p: Problem, depth: int = DEPTH, width: int = WIDTH) -> None:
    """Assert that outputs and features of two networks are torch's."""
    seeds = (0, 11)
    for outputs, seed in zip(simulate(p, width, depth, seeds), seeds, strict=True):
        run = by_torch(p, width, depth, seed)
        assert np.abs(run.outputs[-1] - run.outputs[0]).max() > 0.01
        scale = max(1.0, *(np.abs(field).max() for field in run))
        np.testing.assert_allclose(outputs, run.outputs, atol=1e-12 * scale, rtol=0)
        features = network_stream(p, width, depth, seed)
        np.testing.assert_allclose(features, run.features, atol=1e-12 * scale, rtol=0)


@pytest.mark.parametrize(("block", "block_depth"), BLOCKS)
@pytest.mark.parametrize("activation", ["linear", "relu", "abs", "tanh", "gelu"])
def test_every_branch_trains_as_with_explicit_weights(
    activation: str, block: str, block_depth: int
) -> None:
    agrees(problem(activation=activation, block=block, block_depth=block_depth))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("block", ["pre", "post"])
def test_every_depth_scaling_has_its_rates_and_decay(alpha: float, block: str) -> None:
    decay = {"weight_decay": 0.4, "momentum": 0.5, "lr": 0.1}
    agrees(problem(alpha=alpha, block=block, activation="tanh", **decay))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"train_input": False}, id="frozen input"),
        pytest.param({"train_readout": False}, id="frozen readout"),
        pytest.param(
            {"train_input": False, "train_readout": False, "momentum": 0.5},
            id="hidden weights alone",
        ),
        pytest.param({"loss": "logistic", "targets": [1.0, -1.0, -1.0], "lr": 0.8}, id="logistic"),
        pytest.param({"loss": COSH}, id="a loss of one's own"),
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


@pytest.mark.parametrize(
    "frozen", [["train_input"], ["train_readout"], ["train_input", "train_readout"]], ids="+".join
)
def test_a_frozen_tensor_does_not_decay(frozen: list[str]) -> None:
    agrees(problem(activation="tanh", weight_decay=0.3, **dict.fromkeys(frozen, False)))
    agrees(problem(**EVERYTHING, **dict.fromkeys(frozen, False)))


@pytest.mark.parametrize("depth", [0, 1])
def test_networks_without_depth_train_as_well(depth: int) -> None:
    agrees(problem(activation="tanh", alpha=1.0, weight_decay=0.2), depth=depth)


def test_a_network_does_not_depend_on_others_trained_with_it() -> None:
    p = problem(**EVERYTHING)
    together = simulate(p, WIDTH, DEPTH, [5, 0, 2])
    np.testing.assert_allclose(together[2], simulate(p, WIDTH, DEPTH, [2])[0], atol=1e-14)
    np.testing.assert_allclose(together[[1, 2]], simulate(p, WIDTH, DEPTH, 3)[[0, 2]], atol=1e-14)
    assert np.abs(together[0] - together[1]).max() > 0.01
    alone = simulate(p, WIDTH, DEPTH, [5, 0, 2], together=1)
    np.testing.assert_allclose(alone, together, atol=1e-14)


def test_other_sizes_have_other_weights() -> None:
    p = problem(steps=0)
    assert np.abs(simulate(p, 8, 2) - simulate(p, 8, 3)).max() > 1e-3
    assert simulate(p, 8, 2).shape == (1, 1, 3)


def test_the_variance_of_outputs_before_training_is_the_limits() -> None:
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
    ("width", "depth", "seeds", "message"),
    [
        (0, 2, 1, "width 0, depth 2"),
        (4, math.inf, 1, "a finite depth"),
        (4, 2, 0, "at least one seed"),
        (4, 2, [], "at least one seed"),
        (4, -1, 1, "depth is -1"),
        (4, 1.5, 1, "depth is 1.5"),
        (4, math.nan, 1, "depth is nan"),
    ],
    ids=[
        "no width",
        "infinite depth",
        "zero seeds",
        "empty seeds",
        "negative depth",
        "half a branch",
        "no number",
    ],
)
def test_sizes_that_are_not_counts_are_refused(
    width: int, depth: float, seeds: Any, message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        simulate(problem(), width, depth, seeds)


def test_networks_beyond_memory_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(MutransferError, match="width 1000000 and depth 2 takes 22353 GB, more"):
        simulate(problem(), 1_000_000, 2)
    with pytest.raises(MutransferError, match=r"width 64 and depth 2 takes 0 GB, more than 1e-06"):
        simulate(problem(), 64, 2, memory=1e-6)


def test_a_network_without_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(_simulate, "train", full)
    with pytest.raises(MutransferError, match="2 networks of width 8 and depth 2 at a time do not"):
        simulate(problem(), 8, 2, 2)


@pytest.mark.parametrize(("width", "depth"), [(64, 4), (256, 1)])
def test_the_memory_of_a_network_is_what_it_takes(width: int, depth: int) -> None:
    p = problem(steps=40)
    simulate(p, width, depth)
    tracemalloc.start()
    simulate(p, width, depth)
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    assert 0.8 < _simulate._numbers(p, width, depth) / peak < 1.25
