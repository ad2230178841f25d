"""Weights that are multiplied with constants before they meet a signal."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import mutransfer as mt
from tests.factors import factors
from tests.models import Net


def planned(
    forward: Callable[[Any, Tensor], Tensor],
    fixed: Callable[[int], Tensor],
    shape: Callable[[int], tuple[int, ...]],
) -> mt.Plan:
    """Plan a perceptron with a buffer and a parameter "w" between a stem and a readout."""

    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
        model = Net(forward, **parts)
        model.w = nn.Parameter(torch.randn(shape(width)) * width**-0.5)
        model.register_buffer("fixed", fixed(width))
        return model

    return mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


def orthogonal(width: int) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width))[0]


def square(width: int) -> tuple[int, int]:
    return width, width


def test_a_fixed_rotation_of_a_matrix_leaves_it_hidden() -> None:
    """A weight and its rotation have entries of one size."""
    usual = planned(
        lambda m, x: m.readout(torch.relu(torch.relu(m.stem(x)) @ m.w)), orthogonal, square
    )
    for product in (lambda m: m.w @ m.fixed, lambda m: m.fixed @ m.w):

        def forward(m: Any, x: Tensor, product: Callable[[Any], Tensor] = product) -> Tensor:
            return m.readout(torch.relu(torch.relu(m.stem(x)) @ product(m)))

        rotated = planned(forward, orthogonal, square)
        for name in usual.tensors:
            assert factors(rotated, name) == factors(usual, name)


def test_a_matrix_of_fixed_positions_is_hidden() -> None:
    """Its heads meet the signal, and the width that it takes in met the positions alone."""

    def forward(m: Any, x: Tensor) -> Tensor:
        queries = m.stem(x).view(len(x), -1, 4).transpose(0, 1)
        keys = torch.einsum("pw,whd->hpd", m.fixed, m.w)
        shares = (queries @ keys.mT).softmax(-1).transpose(0, 1)
        return m.readout(torch.relu((shares @ torch.ones(7, 4)).reshape(len(x), -1)))

    plan = planned(
        forward, lambda width: torch.randn(7, width), lambda width: (width, width // 4, 4)
    )
    assert plan["w"].role == "hidden"
