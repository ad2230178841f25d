"""Weights of one sign, whose sums with a signal grow as their number does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors
from tests.models import Net


def network(of: Callable[[nn.Parameter], Tensor]) -> Callable[[int], nn.Module]:
    """Return a builder of perceptrons whose hidden matrix is a function of a parameter."""

    def build(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
        model = Net(
            lambda m, x: m.readout(torch.relu(F.linear(torch.relu(m.stem(x)), of(m.w)))), **parts
        )
        model.w = nn.Parameter(torch.randn(width, width) * width**-0.5)
        return model

    return build


def planned(of: Callable[[nn.Parameter], Tensor]) -> mt.Plan:
    build = network(of)
    return mt.plan(build(64), build(16), optimizer="adam", example_inputs=torch.randn(8, 5))


@pytest.mark.parametrize(
    "of",
    [
        torch.abs,
        torch.relu,
        torch.exp,
        torch.sigmoid,
        F.softplus,
        torch.square,
        lambda w: w.softmax(-1),
        lambda w: F.softplus(w) * torch.randn_like(w),
        lambda w: w.abs() / w.abs().sum(1, keepdim=True),
    ],
    ids=["abs", "relu", "exp", "sigmoid", "softplus", "square", "softmax", "noise", "shares"],
)
def test_a_matrix_of_one_sign_is_refused(of: Callable[[nn.Parameter], Tensor]) -> None:
    with pytest.raises(MutransferError, match=r"w passes .* before it is summed.*roles="):
        planned(of)


def quantized(w: nn.Parameter) -> Tensor:
    scale = w.abs().mean()
    return w + ((w / scale).round().clamp(-1, 1) * scale - w).detach()


@pytest.mark.parametrize(
    "of",
    [
        torch.tanh,
        quantized,
        lambda w: w / w.square().sum(1, keepdim=True).sqrt(),
        lambda w: w * torch.sigmoid(w[:1, :1]),
    ],
    ids=["tanh", "quantized", "normalised", "gated"],
)
def test_signed_functions_of_a_matrix_are_hidden(of: Callable[[nn.Parameter], Tensor]) -> None:
    assert factors(planned(of), "w") == factors(planned(lambda w: w), "w")
