"""The diversity exponent of paths in depth that are known, of trained networks, and what is recorded of a torch model."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer import MutransferError
from mutransfer.limits import Problem, diversity_trend, feature_diversity, model_stream
from mutransfer.limits._activations import Array
from mutransfer.limits._simulate import trained


def brownian(depth: int, coordinates: int = 400, seed: int = 0) -> Array:
    steps = np.random.default_rng(seed).standard_normal((depth, coordinates)) / math.sqrt(depth)
    return np.concatenate([np.zeros((1, coordinates)), np.cumsum(steps, 0)])


def smooth(depth: int, coordinates: int = 400) -> Array:
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, coordinates)
    return np.sin(np.linspace(0, 1, depth + 1)[:, None] + phases)


def fractional(hurst: float, depth: int, coordinates: int = 2000) -> Array:
    """Fractional Brownian motion, whose differences over a distance are that distance to the power `hurst`."""
    times = np.arange(1, depth + 1) / depth
    covariance = 0.5 * (times[:, None] ** (2 * hurst) + times ** (2 * hurst) - np.abs(times[:, None] - times) ** (2 * hurst))
    path = np.linalg.cholesky(covariance) @ np.random.default_rng(0).standard_normal((depth, coordinates))
    return np.concatenate([np.zeros((1, coordinates)), path])


# Known paths


@pytest.mark.parametrize("depth", [16, 17, 40, 100, 256, 1000])
def test_a_brownian_path_is_diverse_and_a_smooth_one_is_not(depth: int) -> None:
    assert feature_diversity(brownian(depth)) == pytest.approx(0.5, abs=0.03)
    assert feature_diversity(smooth(depth)) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.75, 0.9])
def test_the_exponent_is_one_minus_that_of_a_fractional_path(hurst: float) -> None:
    assert feature_diversity(fractional(hurst, 256)) == pytest.approx(1 - hurst, abs=0.02)


def test_layers_that_jump_each_for_itself_have_the_exponent_one() -> None:
    assert feature_diversity(np.random.default_rng(0).standard_normal((257, 500))) == pytest.approx(1.0, abs=0.02)


def test_the_exponent_does_not_see_scale_offset_or_extra_axes() -> None:
    path = brownian(64)
    known = feature_diversity(path)
    assert feature_diversity(1e-6 * path + 3.0) == pytest.approx(known, abs=1e-6)
    assert feature_diversity(np.stack([path, path], 1)) == pytest.approx(known)
    assert feature_diversity(torch.tensor(path)) == pytest.approx(known)
    assert feature_diversity(path.tolist()) == pytest.approx(known)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.zeros(40), r"features have the shape \(40,\)"),
        (brownian(15), r"features have the shape \(16, 400\).*at least 16 branches"),
        (np.where(np.arange(400) == 7, np.nan, brownian(20)), "not finite: the network has diverged"),
        (np.ones((20, 5)), "layers do not differ"),
    ],
    ids=["no coordinates", "too few branches", "not finite", "all the same"],
)
def test_refuses_what_has_no_exponent(features: Any, said: str) -> None:
    with pytest.raises(MutransferError, match=said):
        feature_diversity(features)


def test_a_trend_has_means_errors_and_a_change_per_doubling() -> None:
    found = diversity_trend({128: [brownian(128, seed=seed) for seed in range(3)], 32: [smooth(32)], 64: [brownian(64)]})
    own = [feature_diversity(brownian(128, seed=seed)) for seed in range(3)]
    assert found.depths == (32, 64, 128)
    assert found.exponents == pytest.approx((feature_diversity(smooth(32)), feature_diversity(brownian(64)), np.mean(own)))
    assert math.isnan(found.errors[0]) and math.isnan(found.errors[1])
    assert found.errors[2] == pytest.approx(np.std(own, ddof=1) / math.sqrt(3))
    assert found.per_doubling == pytest.approx((found.exponents[2] - found.exponents[0]) / 2)
    with pytest.raises(MutransferError, match="at least two depths, not 1"):
        diversity_trend({32: [brownian(32)]})


# Trained networks


@cache
def networks(activation: str, alpha: float, steps: int) -> tuple[Any, float]:
    """The trend of trained networks over depths, and by how much their last features moved."""
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
        found = trained(p, 24, depth, range(4))
        paths = np.stack(found.features).reshape(depth + 1, 4, 24, steps + 1, 3)
        features[depth] = [np.moveaxis(paths[:, seed, :, -1], 1, -1) for seed in range(4)]
        moved.append(float(np.sqrt(((paths[-1, :, :, -1] - paths[-1, :, :, 0]) ** 2).mean() / (paths[-1, :, :, 0] ** 2).mean())))
    return diversity_trend(features), min(moved)


@pytest.mark.parametrize("activation", ["relu", "abs"])
def test_training_keeps_networks_of_alpha_one_half_diverse_and_no_others(activation: str) -> None:
    """Claims 7.4 and 7.5 of Tensor Programs VI; the exponents of alpha = 1 fall with the depth."""
    diverse, moved = networks(activation, 0.5, 20)
    redundant, also_moved = networks(activation, 1.0, 20)
    assert moved > 0.5 and also_moved > 0.5
    assert min(diverse.exponents) > 0.4 and max(diverse.exponents) < 0.55
    assert abs(diverse.per_doubling) < 0.025
    assert redundant.exponents[0] < 0.4
    assert redundant.exponents[-1] < 0.3
    assert redundant.per_doubling < -0.025
    assert redundant.exponents[0] - redundant.exponents[-1] > 3 * math.hypot(redundant.errors[0], redundant.errors[-1])


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_before_training_every_network_looks_diverse(alpha: float) -> None:
    assert networks("relu", alpha, 0)[0].exponents == pytest.approx([0.5] * 3, abs=0.03)


# Torch models


class Residual(nn.Module):
    def __init__(self, depth: int = 3, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Linear(2, width)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embedding(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(self.norm(h))


@pytest.fixture
def model() -> Residual:
    torch.manual_seed(0)
    return Residual()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def test_the_stream_is_what_the_modules_are_given(model: Residual) -> None:
    x = torch.randn(5, 2)
    found = model_stream(model, ["blocks.*", "norm"], x)
    with torch.no_grad():
        h = model.embedding(x)
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
    np.testing.assert_array_equal(model_stream(model, ["norm", "blocks.*"], x), model_stream(model, ["blocks.*", "norm"], x))
    np.testing.assert_array_equal(model_stream(model, "blocks.1", x)[0], model_stream(model, "blocks.*", x)[1])
    np.testing.assert_array_equal(model_stream(model, ["blocks.*", "blocks.0"], x), model_stream(model, "blocks.*", x))


def test_features_that_are_changed_in_place_are_recorded_before() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Identity())
    x = torch.tensor([[-1.0, 2.0]])
    np.testing.assert_array_equal(model_stream(model, ["0", "2"], x), [[[-1.0, 2.0]], [[0.0, 2.0]]])


def test_low_precision_and_several_inputs_are_recorded() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.inner(x + y)

    found = model_stream(Sum(), "inner", torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(2, 3, dtype=torch.bfloat16))
    np.testing.assert_array_equal(found, np.full((1, 2, 3), 2.0))


@pytest.mark.parametrize("pattern", ["layers.*", "block", "unused"], ids=["no such name", "no such module", "never called"])
def test_a_pattern_that_records_nothing_is_named(model: Residual, pattern: str) -> None:
    with pytest.raises(MutransferError, match=f"no module that was called matches {pattern.replace('*', '.')}"):
        model_stream(model, pattern, torch.randn(5, 2))
    assert hooks(model) == 0


def test_inputs_of_different_shapes_are_refused(model: Residual) -> None:
    with pytest.raises(MutransferError, match="different shapes"):
        model_stream(model, ["embedding", "blocks.*"], torch.randn(5, 2))
    assert hooks(model) == 0


def test_hooks_are_removed_when_the_model_fails(model: Residual) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model_stream(model, "blocks.*", torch.randn(5, 3))
    assert hooks(model) == 0


def test_a_deep_torch_model_has_an_exponent() -> None:
    torch.manual_seed(0)

    class Scaled(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.embedding(x)
            for block in self.blocks:
                h = h + block(h) / math.sqrt(len(self.blocks))
            return self.head(self.norm(h))

    found = model_stream(Scaled(depth=64, width=48), ["blocks.*", "norm"], torch.randn(8, 2))
    assert found.shape == (65, 8, 48)
    assert feature_diversity(found) == pytest.approx(0.5, abs=0.05)


class Named(nn.Module):
    """Branches that are called by keyword, and a norm that counts what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + self.norm(block(input=x))
        return x


def test_modules_called_by_keyword_are_recorded_and_the_model_stays_as_it_was() -> None:
    model = Named().train()
    model.blocks[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(5, 4) + 3
    found = model_stream(model, "blocks.*", x)
    np.testing.assert_array_equal(found[0], x.double().numpy())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and model.norm.training and model.blocks[0].training and not model.blocks[1].training
