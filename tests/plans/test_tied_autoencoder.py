"""Models whose head is the transpose of the matrix that makes the head's input."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.models.parts import Net

Decode = Callable[[Any, Tensor], Tensor]
DECODERS: dict[str, Decode] = {
    "product": lambda m, h: h @ m.inner.weight + m.shift,
    "linear": lambda m, h: F.linear(h, m.inner.weight.t(), m.shift),
    "einsum": lambda m, h: torch.einsum("bn,nd->bd", h, m.inner.weight) + m.shift,
}


def autoencoder(width: int, decode: Decode, function: Callable[[Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    net = Net(lambda m, x: decode(m, function(m.inner(x))), inner=nn.Linear(16, width))
    net.shift = nn.Parameter(torch.zeros(16))
    return net


def planned(width: int, decode: Decode, function: Callable[[Tensor], Tensor]) -> mt.Plan:
    model, base = (autoencoder(n, decode, function) for n in (width, 32))
    return mt.plan(model, base, optimizer="adam", example_inputs=torch.randn(4, 16))


@pytest.mark.parametrize("name", DECODERS)
def test_a_tensor_that_makes_and_reads_the_features_carries_the_root(name: str) -> None:
    """The output is homogeneous of degree 2 in it, so that two roots make the multiplier 1/n."""
    plan = planned(128, DECODERS[name], torch.relu)
    for tensor in ("inner.weight", "inner.bias"):
        assert plan[tensor].factor("init") == plan[tensor].factor("lr") == Fraction(1, 2)
    assert plan["shift"].factor("init") == plan["shift"].factor("lr") == 1
    assert "the root of the logits' multiplier" in plan.explain("inner.weight")


def test_outputs_move_by_as_much_at_every_width() -> None:
    inputs = torch.randn(32, 16)

    def change(width: int) -> float:
        model = autoencoder(width, DECODERS["linear"], torch.relu)
        plan = planned(width, DECODERS["linear"], torch.relu)
        plan.initialize(model)
        optimizer = torch.optim.Adam(plan.param_groups(model, lr=2.0**-7))
        before = model(inputs).detach()
        for _ in range(4):
            optimizer.zero_grad()
            (model(inputs) - inputs).square().mean().backward()
            optimizer.step()
        return float((model(inputs).detach() - before).square().mean().sqrt())

    assert change(1024) == pytest.approx(change(64), rel=0.3)


def test_a_function_that_is_not_homogeneous_is_refused() -> None:
    with pytest.raises(MutransferError, match=r"inner\.weight is also the head, and its input"):
        planned(128, DECODERS["linear"], torch.tanh)
