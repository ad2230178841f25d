"""The diversity exponent: known paths in depth, trained networks, and torch models."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer import MutransferError
from mutransfer.limits import (
    Problem,
    diversity_trend,
    feature_diversity,
    model_stream,
    network_stream,
)
from tests.models import Net, Residual, repeat, square

Array = np.ndarray[Any, np.dtype[np.float64]]


def brownian(depth: int, coordinates: int = 400, seed: int = 0) -> Array:
    steps = np.random.default_rng(seed).standard_normal((depth, coordinates)) / math.sqrt(depth)
    return np.concatenate([np.zeros((1, coordinates)), np.cumsum(steps, 0)])


def smooth(depth: int, coordinates: int = 400) -> Array:
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, coordinates)
    return np.sin(np.linspace(0, 1, depth + 1)[:, None] + phases)


def fractional(hurst: float, depth: int, coordinates: int = 2000) -> Array:
    """Fractional Brownian motion: differences over a distance are its power `hurst`."""
    times = np.arange(1, depth + 1) / depth
    distances = np.abs(times[:, None] - times)
    power = 2 * hurst
    covariance = 0.5 * (times[:, None] ** power + times**power - distances**power)
    path = np.linalg.cholesky(covariance) @ np.random.default_rng(0).standard_normal(
        (depth, coordinates)
    )
    return np.concatenate([np.zeros((1, coordinates)), path])


# Known paths


@pytest.mark.parametrize("depth", [16, 17, 40, 100, 256, 1000])
def test_a_brownian_path_is_diverse_and_a_smooth_one_is_not(depth: int) -> None:
    assert feature_diversity(brownian(depth)) == pytest.approx(0.5, abs=0.03)
    assert feature_diversity(smooth(depth)) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.75, 0.9])
def test_the_exponent_is_one_minus_that_of_a_fractional_path(hurst: float) -> None:
    assert feature_diversity(fractional(hurst, 256)) == pytest.approx(1 - hurst, abs=0.02)


def test_independent_layers_have_the_exponent_one() -> None:
    layers = np.random.default_rng(0).standard_normal((257, 500))
    assert feature_diversity(layers) == pytest.approx(1.0, abs=0.02)


def test_the_exponent_ignores_scale_offset_and_further_axes() -> None:
    path = brownian(64)
    known = feature_diversity(path)
    assert feature_diversity(1e-6 * path + 3.0) == pytest.approx(known, abs=1e-6)
    assert feature_diversity(np.stack([path, path], 1)) == pytest.approx(known)
    assert feature_diversity(torch.tensor(path)) == pytest.approx(known)
    assert feature_diversity(path.tolist()) == pytest.approx(known)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(40), r"features have the shape \(40,\)"),
        (brownian(15), r"features have the shape \(16, 400\).*at least 16 branches"),
        (
            np.where(np.arange(400) == 7, np.nan, brownian(20)),
            "not finite: the network has diverged",
        ),
        (np.ones((20, 5)), "layers do not differ"),
    ],
    ids=["no coordinates", "too few branches", "not finite", "all the same"],
)
def test_features_without_an_exponent_are_refused(features: Any, message: str) -> None:
    with pytest.raises(MutransferError, match=message):
        feature_diversity(features)


def test_a_trend_has_means_errors_and_a_change_per_doubling() -> None:
    deepest = [brownian(128, seed=seed) for seed in range(3)]
    trend = diversity_trend({128: deepest, 32: [smooth(32)], 64: [brownian(64)]})
    first, second = feature_diversity(smooth(32)), feature_diversity(brownian(64))
    third = [feature_diversity(path) for path in deepest]
    assert trend.depth == (32, 64, 128)
    assert trend.exponents == pytest.approx((first, second, np.mean(third)))
    assert math.isnan(trend.errors[0]) and math.isnan(trend.errors[1])
    assert trend.errors[2] == pytest.approx(np.std(third, ddof=1) / math.sqrt(3))
    assert trend.per_doubling == pytest.approx((trend.exponents[2] - trend.exponents[0]) / 2)
    with pytest.raises(MutransferError, match="at least two depths, not 1"):
        diversity_trend({32: [brownian(32)]})


# Trained networks


@cache
def networks(activation: str, alpha: float, steps: int) -> tuple[Any, float]:
    """Return the trend of trained networks over depths, and how far features moved at least."""
    features, moved = {}, []
    for depth in (16, 32, 64):
        p = Problem(
            inputs=np.random.default_rng(0).normal(size=(3, 6)),
            targets=[1.0, -1.0, 1.0],
            lr=0.2,
            steps=steps,
            gamma0=4.0,
            alpha=alpha,
            activation=activation,
            block="post",
        )
        streams = [network_stream(p, 24, depth, seed) for seed in range(4)]
        features[depth] = [stream[:, -1] for stream in streams]
        first, last = np.stack(streams)[:, -1, [0, -1]].swapaxes(0, 1)
        moved.append(float(np.sqrt(((last - first) ** 2).mean() / (first**2).mean())))
    return diversity_trend(features), min(moved)


@pytest.mark.parametrize("activation", ["relu", "abs"])
def test_training_keeps_features_diverse_at_alpha_one_half_alone(activation: str) -> None:
    """Claims 7.4 and 7.5 of Tensor Programs VI; the exponents of alpha = 1 fall with the depth."""
    diverse, moved = networks(activation, 0.5, 20)
    redundant, also_moved = networks(activation, 1.0, 20)
    assert moved > 0.5 and also_moved > 0.5
    assert min(diverse.exponents) > 0.4 and max(diverse.exponents) < 0.55
    assert abs(diverse.per_doubling) < 0.025
    assert redundant.exponents[0] < 0.4
    assert redundant.exponents[-1] < 0.3
    assert redundant.per_doubling < -0.025
    error = math.hypot(redundant.errors[0], redundant.errors[-1])
    assert redundant.exponents[0] - redundant.exponents[-1] > 3 * error


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_before_training_every_network_looks_diverse(alpha: float) -> None:
    assert networks("relu", alpha, 0)[0].exponents == pytest.approx([0.5] * 3, abs=0.03)


# Torch models


def tanh_stream(width: int = 4, depth: int = 3, power: float = 0.0) -> Residual:
    """Tanh branches times a power of the depth, and a module that is not called."""
    return Residual(
        width,
        depth,
        lambda width: nn.Sequential(nn.Linear(width, width), nn.Tanh()),
        join=lambda model, block, x: x + depth**power * block(x),
        stem=nn.Linear(2, width),
        pool=nn.LayerNorm(width),
        readout=nn.Linear(width, 1),
        unused=nn.Linear(1, 1),
    )


@pytest.fixture
def model() -> Residual:
    torch.manual_seed(0)
    return tanh_stream()


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()
    )


def test_the_stream_has_the_inputs_of_the_named_modules(model: Residual) -> None:
    x = torch.randn(5, 2)
    found = model_stream(model, ["blocks.*", "pool"], x)
    with torch.no_grad():
        h = model.stem(x)
        expected = [h]
        for block in model.blocks:
            h = h + block(h)
            expected.append(h)
    np.testing.assert_allclose(found, torch.stack(expected).double().numpy(), atol=1e-6)
    assert found.dtype == np.float64 and found.shape == (4, 5, 4)
    assert hooks(model) == 0
    assert all(parameter.grad is None for parameter in model.parameters()) and model.training


def test_a_pattern_stops_at_dots_and_names_order_does_not_matter(model: Residual) -> None:
    x = torch.randn(5, 2)
    assert model_stream(model, "blocks.*", x).shape == (3, 5, 4)
    blocks, both = model_stream(model, "blocks.*", x), model_stream(model, ["blocks.*", "pool"], x)
    np.testing.assert_array_equal(model_stream(model, ["pool", "blocks.*"], x), both)
    np.testing.assert_array_equal(model_stream(model, "blocks.1", x)[0], blocks[1])
    np.testing.assert_array_equal(model_stream(model, ["blocks.*", "blocks.0"], x), blocks)


def test_features_that_are_changed_in_place_are_recorded_before() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Identity())
    x = torch.tensor([[-1.0, 2.0]])
    np.testing.assert_array_equal(model_stream(model, ["0", "2"], x), [[[-1.0, 2.0]], [[0.0, 2.0]]])


def test_low_precision_and_several_inputs_are_recorded() -> None:
    model = Net(lambda model, x, y: model.inner(x + y), inner=nn.Identity())
    ones = torch.ones(2, 3, dtype=torch.bfloat16)
    np.testing.assert_array_equal(model_stream(model, "inner", ones, ones), np.full((1, 2, 3), 2.0))


@pytest.mark.parametrize(
    "pattern",
    ["layers.*", "block", "unused"],
    ids=["no such name", "no such module", "never called"],
)
def test_a_pattern_that_records_nothing_is_named(model: Residual, pattern: str) -> None:
    message = f"no module that was called matches {pattern.replace('*', '.')}"
    with pytest.raises(MutransferError, match=message):
        model_stream(model, pattern, torch.randn(5, 2))
    assert hooks(model) == 0


def test_inputs_of_different_shapes_are_refused(model: Residual) -> None:
    with pytest.raises(MutransferError, match="different shapes"):
        model_stream(model, ["stem", "blocks.*"], torch.randn(5, 2))
    assert hooks(model) == 0


def test_hooks_are_removed_when_the_model_fails(model: Residual) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model_stream(model, "blocks.*", torch.randn(5, 3))
    assert hooks(model) == 0


def test_a_deep_torch_model_has_an_exponent() -> None:
    torch.manual_seed(0)
    model = tanh_stream(width=48, depth=64, power=-0.5)
    found = model_stream(model, ["blocks.*", "pool"], torch.randn(8, 2))
    assert found.shape == (65, 8, 48)
    assert feature_diversity(found) == pytest.approx(0.5, abs=0.05)


def by_keyword(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Call branches by keyword, each followed by a norm that counts its inputs."""
    for block in model.blocks:
        x = x + model.norm(block(input=x))
    return x


def test_recording_calls_by_keyword_leaves_the_model_as_it_was() -> None:
    model = Net(by_keyword, norm=nn.BatchNorm1d(4), blocks=repeat(2, lambda: square(4))).train()
    model.blocks[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 4) + 3
    found = model_stream(model, "blocks.*", x)
    np.testing.assert_array_equal(found[0], x.double().numpy())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (
        model.training
        and model.norm.training
        and model.blocks[0].training
        and not model.blocks[1].training
    )
