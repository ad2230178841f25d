"""Weights over the shares of a softmax, which sum to one however many they are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.factors import factors
from tests.models import Net


def planned(forward: Callable[[Any, Tensor, Tensor], Tensor]) -> mt.Plan:
    """Plan learned values `w` of features `h`, of which shares `p` are taken."""

    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width), "gate": nn.Linear(width, width)}
        model = Net(lambda m, x: of_features(m, torch.relu(m.stem(x))), **parts)
        model.w = nn.Parameter(torch.randn(width, 3))
        return model

    def of_features(m: Any, h: Tensor) -> Tensor:
        return forward(m, m.gate(h).softmax(-1), h)

    return mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


SPELLINGS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "matrix": lambda m, p, h: p @ m.w,
    "einsum": lambda m, p, h: torch.einsum("bn,nk->bk", p, m.w),
    "by hand": lambda m, p, h: (p[..., None] * m.w).sum(1),
    "the other way": lambda m, p, h: (m.w.T * p[:, None]).sum(-1),
    "times features": lambda m, p, h: (p * h) @ m.w,
    "times features by hand": lambda m, p, h: (p[..., None] * (m.w * h[..., None])).sum(1),
}


@pytest.mark.parametrize("forward", SPELLINGS.values(), ids=SPELLINGS)
def test_values_of_shares_keep_their_size_and_rate(forward: Callable[..., Tensor]) -> None:
    """A change of all values by one number changes the output by it."""
    assert factors(planned(forward), "w", ("init", "lr")) == (1, 1)


def test_values_of_shares_over_data_are_a_readout() -> None:
    plan = planned(lambda m, p, h: (h.softmax(0)[..., None] * m.w).sum(1))
    assert factors(plan, "w", ("init", "lr")) == (1 / 4, 1 / 4)
