"""Layers in one parameter or one list, numbered with what is no layer, or alone in the base."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.factors import factors
from tests.models import Net

Build = Callable[[int, int], nn.Module]
DEPTHS = [(1, 4), (2, 4), (2, 3), (4, 2)]


def apart(width: int, depth: int) -> nn.Module:
    """Build a residual perceptron with stem, layers and head of names of their own."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.stem(x)
        for layer in m.layers:
            h = h + torch.relu(layer(h))
        return m.head(h)

    layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
    return Net(forward, stem=nn.Linear(5, width), layers=layers, head=nn.Linear(width, 3))


def together(width: int, depth: int) -> nn.Module:
    """Build the same with all in one list."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.all[0](x)
        for layer in m.all[1:-1]:
            h = h + torch.relu(layer(h))
        return m.all[-1](h)

    layers = [nn.Linear(width, width) for _ in range(depth)]
    parts = nn.ModuleList([nn.Linear(5, width), *layers, nn.Linear(width, 3)])
    return Net(forward, all=parts)


def stacked(take: Callable[[nn.Parameter], list[Tensor]]) -> Build:
    """Return a builder of the same with all layers in one parameter, and without their biases."""

    def build(width: int, depth: int) -> nn.Module:
        def forward(m: Net, x: Tensor) -> Tensor:
            h = m.stem(x)
            for weight in take(m.layers):
                h = h + torch.relu(h @ weight)
            return m.head(h)

        model = Net(forward, stem=nn.Linear(5, width), head=nn.Linear(width, 3))
        model.layers = nn.Parameter(torch.randn(depth, width, width) * width**-0.5)
        return model

    return build


def planned(build: Build, depths: tuple[int, int]) -> tuple[mt.Plan, nn.Module]:
    torch.manual_seed(0)
    base, model = build(16, depths[0]), build(64, depths[1])
    return mt.plan(model, base, example_inputs=torch.randn(4, 5)), model


@pytest.mark.parametrize("depths", DEPTHS)
def test_a_stem_and_a_head_may_be_numbered_with_the_layers(depths: tuple[int, int]) -> None:
    (usual, reference), (plan, model) = planned(apart, depths), planned(together, depths)
    names = dict(zip(plan.tensors, usual.tensors, strict=True))
    for name, other in names.items():
        assert factors(plan, name) == factors(usual, other), name
        assert plan[name].role == usual[other].role and plan[name].place == usual[other].place
    plan.initialize(model)
    usual.initialize(reference)
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_chain_in_one_list_is_still_refused() -> None:
    def chain(width: int, depth: int) -> nn.Module:
        layers = [m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())]
        return nn.Sequential(nn.Linear(5, width), nn.ReLU(), *layers, nn.Linear(width, 3))

    with pytest.raises(mt.MutransferError, match="outside residual branches that repeat"):
        planned(chain, (2, 4))


TAKEN: dict[str, Callable[[nn.Parameter], list[Tensor]]] = {
    "indexed": lambda weights: [weights[i] for i in range(len(weights))],
    "iterated": list,
    "unbound": lambda weights: list(weights.unbind(0)),
}


@pytest.mark.parametrize("depths", DEPTHS)
@pytest.mark.parametrize("taken", TAKEN)
def test_layers_of_one_parameter_are_layers(taken: str, depths: tuple[int, int]) -> None:
    """Also where the base has one."""
    usual, _ = planned(apart, depths)
    plan, _ = planned(stacked(TAKEN[taken]), depths)
    assert factors(plan, "layers") == factors(usual, "layers.0.weight")
    assert plan["layers"].place == usual["layers.0.weight"].place
    for name in ("stem.weight", "head.weight"):
        assert factors(plan, name) == factors(usual, name)


@pytest.mark.parametrize("depths", [(1, 4), (2, 4)])
def test_a_layer_that_is_used_more_often_is_still_refused(depths: tuple[int, int]) -> None:
    base, target = (stacked(lambda w, n=n: [w[0]] * n) for n in depths)
    with pytest.raises(mt.MutransferError, match="no rule is known for a growing number of loops"):
        mt.plan(target(64, 1), base(16, 1), example_inputs=torch.randn(4, 5))
