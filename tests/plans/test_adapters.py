"""Adapters of low rank inside a weight over its own length (DoRA, 2402.09353)."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from tests.factors import factors
from tests.models import Net

Weight = Callable[[Tensor, Tensor, Tensor], Tensor]


def planned(of: Weight, frozen: bool = False) -> mt.Plan:
    """Plan a hidden matrix that is a function of a weight, an adapter and lengths."""

    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
        model = Net(
            lambda m, x: m.readout(
                torch.relu(F.linear(torch.relu(m.stem(x)), of(m.w, m.b @ m.a, m.g)))
            ),
            **parts,
        )
        model.w = nn.Parameter(torch.randn(width, width), requires_grad=not frozen)
        model.a, model.b = nn.Parameter(torch.randn(4, width)), nn.Parameter(torch.zeros(width, 4))
        model.g = nn.Parameter(torch.ones(width, 1))
        return model

    return mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


def length(v: Tensor) -> Tensor:
    return v.norm(dim=1, keepdim=True)


OVER_LENGTH: dict[str, Weight] = {
    "quotient": lambda w, ba, g: (w + ba) / length(w + ba),
    "length and direction": lambda w, ba, g: g * (w + ba) / length(w + ba),
    "detached": lambda w, ba, g: g * ((w + ba) / length(w + ba).detach()),
    "of the weight alone": lambda w, ba, g: g * (w + 2 * ba) / length(w),
    "product": lambda w, ba, g: (w + ba) * (w + ba).square().sum(1, keepdim=True).rsqrt(),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("of", OVER_LENGTH.values(), ids=OVER_LENGTH)
def test_an_adapter_in_a_normalised_weight_is_planned_as_without(of: Weight, frozen: bool) -> None:
    plan, plain = planned(of, frozen), planned(lambda w, ba, g: w + ba, frozen)
    for name in ("w", "a", "b"):
        assert factors(plan, name) == factors(plain, name)
    assert factors(plan, "a", ("init", "lr")) == (1 / 2, 1 / 4)


def test_a_gain_over_the_summed_dimension_is_still_a_vector() -> None:
    plan = planned(lambda w, ba, g: (w + ba) * g.T / length((w + ba) * g.T))
    assert plan["g"].role == "vector"


def test_a_row_that_multiplies_a_weight_is_still_a_gain() -> None:
    """Of rank r, W times (B A) entry by entry is the sum of r products diag(b) W diag(a)."""
    for of in (lambda w, ba, g: w * ba, lambda w, ba, g: w * ba / length(w)):
        assert planned(of)["a"].role == "vector"
