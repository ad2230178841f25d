"""Tensors whose own module is not called, or puts out a weight, are measured further out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, weight_norm

import mutransfer as mt
from tests.checks.planting import rate, training
from tests.models.parts import Net

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
WORDS = torch.randn(8, 7, 10, generator=torch.Generator().manual_seed(0))
SETTINGS = {"width": [64, 128, 256], "control": False}
Change = Callable[[nn.Module], nn.Module]


class _Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def doubled(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", _Doubled())
    return layer


def normed(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return weight_norm(layer)


def changed(change: Change) -> Callable[[int], nn.Module]:
    """A network with a change of its hidden layer."""

    def build(width: int) -> nn.Module:
        hidden = change(nn.Linear(width, width))
        return nn.Sequential(
            nn.Linear(10, width), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(width, 3)
        )

    return build


def functional(width: int) -> nn.Module:
    """A network that uses the weight of a layer it does not call."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        hidden = F.linear(model.input(x).relu(), model.layer.weight, model.layer.bias)
        return model.out(hidden.tanh())

    layers = {"input": nn.Linear(10, width), "layer": nn.Linear(width, width)}
    return Net(run, **layers, out=nn.Linear(width, 4))


def attention(width: int) -> nn.Module:
    """An attention that calls no linear layer of its own."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        x = model.input(x)
        y = model.norm(x)
        return model.out(model.last(x + model.attention(y, y, y)[0]))

    heads = nn.MultiheadAttention(width, width // 16, batch_first=True)
    norms = {"norm": nn.LayerNorm(width), "last": nn.LayerNorm(width)}
    return Net(run, input=nn.Linear(10, width), attention=heads, **norms, out=nn.Linear(width, 4))


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], Tensor, str]] = {
    "weight_norm": (
        changed(parametrizations.weight_norm),
        X,
        "2.parametrizations.weight.original0",
    ),
    "hooked weight_norm": (changed(normed), X, "2.weight_g"),
    "parametrized": (changed(doubled), X, "2.parametrizations.weight.original"),
    "F.linear": (functional, X, "layer.weight"),
    "nn.MultiheadAttention": (attention, WORDS, "attention.out_proj.weight"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_right_plan_passes(name: str) -> None:
    build, batch, _ = NETWORKS[name]
    check = mt.coordinate_check(build, batch=batch, **SETTINGS)
    assert check.verdict == "pass", check


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rate_that_grows_with_width_is_named(name: str) -> None:
    build, batch, tensor = NETWORKS[name]
    ratio = "fan_out" if name.endswith("weight_norm") else "fan_in"
    edit = training(rate(tensor, ratio, 1))
    check = mt.coordinate_check(build, batch=batch, train=edit, **SETTINGS)
    pattern = tensor[:-1] + "*" if tensor[-1].isdecimal() else tensor
    texts = [finding.text for finding in check.findings if finding.name in {tensor, pattern}]
    assert any("its own part of the change" in text for text in texts), check.findings


def tempered(width: int) -> nn.Module:
    """A network with a learned temperature."""
    model = nn.Sequential(
        nn.Linear(10, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)
    )
    number = nn.Parameter(torch.zeros(()))
    return Net(lambda net, x: net.model(x) * net.number.exp(), model=model, number=number)


@pytest.mark.parametrize("seed", range(3))
def test_a_learned_number_is_judged_by_its_first_step(seed: int) -> None:
    batch = torch.randn(8, 10, generator=torch.Generator().manual_seed(seed))
    check = mt.coordinate_check(tempered, batch=batch, **SETTINGS)
    assert check.verdict == "pass", check
    edit = training(lambda plan, model, groups: grown(model, groups["number"]))
    check = mt.coordinate_check(tempered, batch=batch, train=edit, **SETTINGS)
    assert "number" in {finding.name for finding in check.findings}


def grown(model: nn.Module, group: dict[str, Any]) -> None:
    """Multiply a rate by the width over that of the base."""
    group["lr"] *= model.get_parameter("model.0.weight").shape[0] / 64
