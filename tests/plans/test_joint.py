"""Two matrices that are multiplied entry by entry: no roles are right for both."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors
from tests.models import Net

Layer = Callable[[Any, Tensor], Tensor]


def build(side: int, layer: Layer) -> nn.Module:
    """Build a perceptron of the square of a number of features, with parts of its matrix."""
    width = side**2
    parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    model = Net(lambda m, x: m.readout(torch.relu(layer(m, torch.relu(m.stem(x))))), **parts)
    model.w, model.scale = (nn.Parameter(torch.randn(width, width)) for _ in range(2))
    model.row = nn.Parameter(torch.ones(width))
    model.a, model.b = (nn.Parameter(torch.randn(side, side)) for _ in range(2))
    return model


def planned(layer: Layer, **options: Any) -> mt.Plan:
    x = torch.randn(8, 5)
    return mt.plan(build(8, layer), build(4, layer), optimizer="adam", example_inputs=x, **options)


def scaled(m: Any, h: Tensor) -> Tensor:
    return F.linear(h, m.w * m.scale)


def kronecker(m: Any, h: Tensor) -> Tensor:
    return F.linear(h, torch.kron(m.a, m.b))


def in_turn(m: Any, h: Tensor) -> Tensor:
    return (m.a @ h.view(len(h), *m.a.shape) @ m.b.T).flatten(1)


@pytest.mark.parametrize("roles", [None, {"w": "hidden"}, {"w": "hidden", "scale": "hidden"}])
def test_a_matrix_that_scales_another_is_refused(roles: Any) -> None:
    """Declared as hidden both would start at fan_in^-1/2, and their product at 1/fan_in."""
    with pytest.raises(MutransferError, match=r"w and scale .* no roles are right for both"):
        planned(scaled, roles=roles)


@pytest.mark.parametrize("more", [{}, {"w": "hidden"}])
def test_a_matrix_beside_a_fixed_one_is_hidden(more: dict[str, str]) -> None:
    plan = planned(scaled, roles={"scale": "frozen", **more})
    plain = planned(lambda m, h: F.linear(h, m.w))
    for name in ("w", "stem.weight", "readout.weight"):
        assert factors(plan, name) == factors(plain, name)
    assert factors(plan, "scale", ("init",)) == (1,)


def test_a_vector_in_place_of_a_matrix_is_planned() -> None:
    plan = planned(lambda m, h: F.linear(h, m.w * m.row))
    assert (plan["w"].role, plan["row"].role) == ("hidden", "vector")


@pytest.mark.parametrize("roles", [None, {"[ab]": "hidden"}, {"b": "frozen"}])
def test_a_product_of_kronecker_is_planned_in_turn_alone(roles: Any) -> None:
    model = build(4, kronecker).double()
    h = torch.randn(8, 16, dtype=torch.float64)
    assert torch.allclose(kronecker(model, h), in_turn(model, h))
    with pytest.raises(MutransferError, match="apply one after the other"):
        planned(kronecker, roles=roles)
    plan = planned(in_turn)
    for name in "ab":
        assert factors(plan, name, ("init", "lr")) == pytest.approx((2**-0.5, 1 / 2))
