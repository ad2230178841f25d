"""Outputs of readouts may shrink at first, also before a nonlinearity, and are no fault then."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.checks import Spot
from tests.models.parts import Net

X = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
Y = torch.rand(16, 4, generator=torch.Generator().manual_seed(1))
SETTINGS = {"width": [64, 128, 256], "batch": X, "control": False}


def squared(output: Tensor, batch: Tensor) -> Tensor:
    return (output - Y).square().mean()


def functional(end: Callable[[Tensor], Tensor]) -> Callable[[int], nn.Module]:
    """A network whose output passes a function."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        return end(model.out(model.hidden(model.input(x).relu()).relu()))

    def build(width: int) -> nn.Module:
        layers = {"input": nn.Linear(10, width), "hidden": nn.Linear(width, width)}
        return Net(run, **layers, out=nn.Linear(width, 4, bias=False))

    return build


def activated(end: nn.Module) -> Callable[[int], nn.Module]:
    """A network whose output passes a module."""

    def build(width: int) -> nn.Module:
        head = nn.Sequential(nn.Linear(width, 4, bias=False), end)
        hidden = nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return Net(lambda model, x: 2 * model.head(model.hidden(x)), hidden=hidden, head=head)

    return build


def shared(width: int) -> nn.Module:
    """A network with one activation for all layers and the output."""
    layers = [nn.Linear(10, width), nn.Linear(width, width), nn.Linear(width, 4, bias=False)]
    tanh = nn.Tanh()
    return nn.Sequential(*(part for layer in layers for part in (layer, tanh)))


def routed(width: int) -> nn.Module:
    """Two of four experts, chosen and weighed by a router."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        x = model.norm(model.input(x))
        weights, chosen = model.router(x).softmax(-1).topk(2, -1)
        experts = torch.stack([expert(x) for expert in model.experts], 1)
        taken = experts.gather(1, chosen[..., None].expand(-1, -1, x.shape[-1]))
        return model.out((taken * weights[..., None]).sum(1))

    experts = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
    layers = {"input": nn.Linear(10, width), "norm": nn.LayerNorm(width), "experts": experts}
    router = nn.Linear(width, 4, bias=False)
    return Net(run, **layers, router=router, out=nn.Linear(width, 4))


RIGHT = {
    "sigmoid": (functional(torch.sigmoid), "out"),
    "tanh": (functional(torch.tanh), "out"),
    "softplus": (functional(F.softplus), "out"),
    "log_softmax": (functional(lambda x: x.log_softmax(-1)), "out"),
    "exp": (functional(torch.exp), "out"),
    "normalize": (functional(lambda x: F.normalize(x, dim=-1)), "out"),
    "nn.Tanh": (activated(nn.Tanh()), "head.1"),
    "nn.LogSoftmax": (activated(nn.LogSoftmax(-1)), "head"),
    "one activation for all": (shared, "4"),
    "router": (routed, "router"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_readout_before_a_nonlinearity_passes(name: str) -> None:
    build, module = RIGHT[name]
    check = mt.coordinate_check(build, loss=squared, **SETTINGS)
    assert check.spots[module] == Spot.READOUT
    assert check.verdict == "pass", check


def test_activations_of_hidden_layers_are_still_judged() -> None:
    check = mt.coordinate_check(shared, loss=squared, seeds=1, steps=1, **SETTINGS)
    assert check.slope("1", "size", "width", 0).verdict
    assert not check.slope("1#3", "size", "width", 0).verdict


def test_a_readout_with_the_rate_of_a_vector_fails_before_a_nonlinearity() -> None:
    build = functional(lambda x: x.softmax(-1))
    check = mt.coordinate_check(build, loss=squared, roles={"out.weight": "vector"}, **SETTINGS)
    assert "out.weight" in {finding.name for finding in check.findings}


class _WideAndDeep(nn.Module):
    """A linear map beside a deep one, whose last matrix is taken for the end of a branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.out = nn.Linear(10, 4), nn.Linear(width, 4)
        self.deep = nn.Sequential(
            nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x) + self.out(self.deep(x))


@pytest.mark.parametrize(("role", "verdict"), [("hidden", "fail"), ("readout", "pass")])
def test_the_first_change_of_a_readout_that_starts_too_large_is_seen(
    role: str, verdict: str
) -> None:
    settings = SETTINGS | {"width": [64, 128, 256, 512, 1024], "loss": squared}
    check = mt.coordinate_check(_WideAndDeep, roles={"out.weight": role}, **settings)
    assert check.verdict == verdict, check
    first, last = (check.slope("", "change", "width", step) for step in (1, 4))
    assert first.verdict == ("fail" if verdict == "fail" else "")
    assert last.verdict == "pass"
