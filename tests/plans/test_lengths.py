"""Lengths of a weight: one function has one plan, whether they divide it or what it makes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import table, warning_ids
from tests.models import Net

Layer = Callable[[Any, Tensor, Tensor, Tensor], Tensor]
"""A function of the model, the features `h`, the styles `s` of the data and a weight `v`."""


def build(width: int, layer: Layer) -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        made = layer(m, torch.relu(m.stem(x)), m.style(x), m.v)
        return m.readout(torch.relu(made))

    parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
    model = Net(forward, **parts, style=nn.Linear(5, width))
    model.v, model.g = nn.Parameter(torch.randn(width, width)), nn.Parameter(torch.ones(width))
    model.a, model.b = nn.Parameter(torch.randn(4, width)), nn.Parameter(torch.zeros(width, 4))
    model.head = nn.Parameter(torch.randn(7, width))
    model.register_buffer("unit", F.normalize(torch.randn(2, width), dim=1))
    return model


def planned(layer: Layer, **options: Any) -> mt.Plan:
    x = torch.randn(8, 5)
    return mt.plan(
        build(64, layer), build(16, layer), optimizer="adam", example_inputs=x, **options
    )


def mean(v: Tensor) -> Tensor:
    return v.abs().mean() * len(v) ** 0.5


def demodulated(m: Any, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    made = v * s[:, None]
    return torch.einsum("bi,boi->bo", h, made * made.square().sum(2, keepdim=True).rsqrt())


def deviation(v: Tensor) -> Tensor:
    return v.var(1) * len(v)


# Each function with the length inside the weight, and behind the sum.
WRITINGS: dict[str, tuple[Layer, Layer]] = {
    "rows": (
        lambda m, h, s, v: F.linear(h, v / v.norm(dim=1, keepdim=True)),
        lambda m, h, s, v: F.linear(h, v) / v.norm(dim=1),
    ),
    "weight norm": (
        lambda m, h, s, v: F.linear(h, m.g[:, None] * v / v.norm(dim=1, keepdim=True)),
        lambda m, h, s, v: m.g / v.norm(dim=1) * F.linear(h, v),
    ),
    "detached": (
        lambda m, h, s, v: F.linear(h, v / v.norm(dim=1, keepdim=True).detach()),
        lambda m, h, s, v: F.linear(h, v) / v.norm(dim=1).detach(),
    ),
    "Frobenius": (
        lambda m, h, s, v: F.linear(h, v / v.norm() * len(v) ** 0.5),
        lambda m, h, s, v: F.linear(h, v) / v.norm() * len(v) ** 0.5,
    ),
    "Frobenius alone": (
        lambda m, h, s, v: F.linear(h, v / v.norm()),
        lambda m, h, s, v: F.linear(h, v) / v.norm(),
    ),
    "mean magnitude": (
        lambda m, h, s, v: F.linear(h, v / mean(v)),
        lambda m, h, s, v: F.linear(h, v) / mean(v),
    ),
    "before the sum": (
        lambda m, h, s, v: F.linear(h, v / mean(v)),
        lambda m, h, s, v: F.linear(h / mean(v), v),
    ),
    "variance": (
        lambda m, h, s, v: F.linear(h, v * deviation(v)[:, None].rsqrt()),
        lambda m, h, s, v: F.linear(h, v) * deviation(v).rsqrt(),
    ),
    "singular value": (
        lambda m, h, s, v: F.linear(h, v / (m.unit[0] @ v @ m.unit[1])),
        lambda m, h, s, v: F.linear(h, v) / (m.unit[0] @ v @ m.unit[1]),
    ),
    "by hand": (
        lambda m, h, s, v: F.linear(h, v / v.norm(dim=1, keepdim=True)),
        lambda m, h, s, v: (h[:, None] * v).sum(-1) / v.norm(dim=1),
    ),
}


@pytest.mark.parametrize(("inside", "behind"), WRITINGS.values(), ids=WRITINGS)
def test_two_writings_of_one_function_have_one_plan(inside: Layer, behind: Layer) -> None:
    model, other = build(64, inside).double(), build(64, behind).double()
    other.load_state_dict(model.state_dict())
    x = torch.randn(8, 5, dtype=torch.float64)
    assert torch.allclose(model(x), other(x), rtol=1e-9)
    plans = [planned(each) for each in (inside, behind)]
    assert table(plans[0]) == table(plans[1])
    assert warning_ids(plans[0]) == warning_ids(plans[1])


def test_an_adapter_whose_output_is_divided_by_the_length_of_both() -> None:
    """The layer of a weight-decomposed adapter (2402.09353), as it is run."""

    def plain(m: Any, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
        return m.g * (F.linear(h, v) + F.linear(F.linear(h, m.a), m.b))

    def divided(m: Any, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
        return plain(m, h, s, v) / (v + m.b @ m.a).norm(dim=1).detach()

    assert table(planned(divided)) == table(planned(plain))


def test_a_cosine_with_every_row_of_a_readout_is_even() -> None:
    def cosines(m: Any, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
        made = h @ m.head.T / (h.norm(dim=1, keepdim=True) * m.head.norm(dim=1))
        return h * made.sum(1, keepdim=True)

    plan = planned(cosines)
    assert plan["head"].role == "readout"
    assert plan["readout.weight"].factor("init") == 1 / 4
    assert "own-factor" not in warning_ids(plan)


def test_a_modulated_weight_is_demodulated_inside_or_behind() -> None:
    """Styles scale the input and a length divides the output (1912.04958)."""

    def behind(m: Any, h: Tensor, s: Tensor, v: Tensor) -> Tensor:
        return F.linear(h * s, v) * F.linear(s.square(), v.square()).rsqrt()

    model, other = build(64, demodulated).double(), build(64, behind).double()
    other.load_state_dict(model.state_dict())
    x = torch.randn(8, 5, dtype=torch.float64)
    assert torch.allclose(model(x), other(x), rtol=1e-9)
    plain = planned(lambda m, h, s, v: F.linear(h * s, v))
    assert table(planned(behind)) == table(plain)
    declared = planned(demodulated, roles={"v": "hidden"})
    names = ("stem.weight", "style.weight", "readout.weight", "v")
    assert all(table(declared)[name][:2] == table(plain)[name][:2] for name in names)


@pytest.mark.parametrize(
    "layer",
    [
        lambda m, h, s, v: F.linear(h, v.square()),
        lambda m, h, s, v: F.linear(h, v * v),
        lambda m, h, s, v: F.linear(h, v) / F.linear(h, v.abs()),
    ],
    ids=["square", "product", "magnitudes"],
)
def test_positive_weights_that_are_no_length_are_refused(layer: Layer) -> None:
    with pytest.raises(MutransferError, match="one sign and add up"):
        planned(layer)


@pytest.mark.parametrize(
    "layer",
    [
        lambda m, h, s, v: h * m.g + F.linear(h, v / v.norm()),
        lambda m, h, s, v: h * m.g + F.linear(h, v) / v.norm(),
    ],
    ids=["inside", "behind"],
)
def test_a_length_that_is_not_even_is_refused_beside_features(layer: Layer) -> None:
    with pytest.raises(MutransferError, match="a size of its own"):
        planned(layer)
