"""Sums over the width that meet a constant: 1 in y / (1 + |y|) fixes their size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors, warning_ids
from tests.models import Net

Squashed = Callable[[Tensor, int], Tensor]


def build(width: int, of: Squashed, activation: Callable[[Tensor], Tensor]) -> nn.Module:
    """Build a model that sums activations in four groups, and squashes the sums."""

    def forward(m: Any, x: Tensor) -> Tensor:
        return of(activation(m.stem(x)).view(len(x), width, 4).sum(1), width)

    return Net(forward, stem=nn.Linear(5, 4 * width))


def planned(of: Squashed, activation: Callable[[Tensor], Tensor] = torch.relu) -> mt.Plan:
    model, base = build(64, of, activation), build(16, of, activation)
    return mt.plan(model, base, optimizer="adam", example_inputs=torch.randn(8, 5))


def length(y: Tensor) -> Tensor:
    return y.norm(dim=-1, keepdim=True)


def squash(y: Tensor, _: int) -> Tensor:
    """Squash a capsule (1710.09829)."""
    square = y.square().sum(-1, keepdim=True)
    return square / (1 + square) * y / (square.sqrt() + 1e-8)


FIXED: dict[str, Squashed] = {
    "one beside a length": lambda y, n: y / (1 + length(y)),
    "a length beside one": lambda y, n: y / (length(y) + 1),
    "subtracted": lambda y, n: y / (1 - length(y)),
    "softsign": lambda y, n: F.softsign(y),
    "capsules": squash,
    "a tensor": lambda y, n: y / (length(y) + torch.ones(1)),
    "root": lambda y, n: y * (1 + y.square()).rsqrt(),
    "Student's t": lambda y, n: 1 / (1 + y.square().sum(-1)),
    "lower bound": lambda y, n: y / length(y).clamp(min=1),
    "upper bound before a norm": lambda y, n: F.layer_norm(y.clamp(max=6), (4,)),
    "maximum": lambda y, n: y / torch.maximum(length(y), torch.ones(1)),
    "local response": lambda y, n: F.local_response_norm(y[..., None], 2),
    "tanh": lambda y, n: torch.tanh(y),
    "tanh of a square": lambda y, n: torch.tanh(y.square()),
    "tanh of a product": lambda y, n: torch.tanh(y * y),
}


@pytest.mark.parametrize("of", FIXED.values(), ids=FIXED)
def test_a_constant_beside_a_sum_fixes_its_size(of: Squashed) -> None:
    assert factors(planned(of), "stem.weight", ("init", "lr")) == (1 / 4, 1 / 4)


@pytest.mark.parametrize("of", FIXED.values(), ids=FIXED)
def test_a_planned_sum_is_a_mean_at_the_size_of_the_base(of: Squashed) -> None:
    model = build(64, of, torch.relu).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    mean = torch.relu(model.stem(x)).view(8, 64, 4).mean(1)
    expected, plan = of(16 * mean, 64), planned(of)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(plan[name].factor("init"))
    assert torch.allclose(model(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("of", FIXED.values(), ids=FIXED)
def test_a_sum_that_nothing_carries_is_refused(of: Squashed) -> None:
    with pytest.raises(MutransferError, match="sums a signal over a dimension that grows"):
        planned(of, torch.tanh)


FREE: dict[str, Squashed] = {
    "an eps": lambda y, n: y / (length(y) + 1e-5),
    "an eps below a root": lambda y, n: y * (y.square().mean(-1, keepdim=True) + 1e-3).rsqrt(),
    "an eps as a tensor": lambda y, n: y / (length(y) + torch.full((1,), 1e-6)),
    "an eps as a bound": lambda y, n: F.normalize(y, dim=-1),
    "zero as a bound": lambda y, n: y.clamp(min=0) / length(y),
    "a number that grows alike": lambda y, n: y / (n + length(y)),
    "a mask": lambda y, n: F.layer_norm(y, (4,)) + (length(y) - 1e9).clamp(max=0).sign(),
}


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
@pytest.mark.parametrize("of", FREE.values(), ids=FREE)
def test_a_sum_over_its_length_has_no_size(of: Squashed, activation: Callable[..., Tensor]) -> None:
    assert factors(planned(of, activation), "stem.weight", ("init", "lr")) == (1, 1)


def test_a_number_beside_fixed_positions_is_undone() -> None:
    """Embeddings times the root of the width (1706.03762), before a norm."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.table(x) * m.table.weight.shape[1] ** 0.5 + m.positions
        return m.readout(m.norm(h))

    def make(width: int) -> nn.Module:
        parts = {"norm": nn.LayerNorm(width), "readout": nn.Linear(width, 3)}
        model = Net(forward, table=nn.Embedding(7, width), **parts)
        model.register_buffer("positions", torch.randn(5, width))
        return model

    ids = torch.randint(0, 7, (2, 5))
    plan = mt.plan(make(64), make(16), optimizer="adam", example_inputs=ids)
    assert factors(plan, "table.weight", ("init", "lr")) == (1 / 2, 1 / 2)


@pytest.mark.parametrize(
    ("of", "warns"),
    [
        (lambda h: F.normalize(h, dim=-1) + torch.ones(h.shape[-1]), True),
        (lambda h: 1 - h.softmax(-1), True),
        (lambda h: F.normalize(h, dim=-1) + 1e-6, False),
        (lambda h: F.layer_norm(h, h.shape[-1:]) + torch.ones(h.shape[-1]), False),
    ],
    ids=["unit length", "softmax", "eps", "layer norm"],
)
def test_short_vectors_beside_a_constant_are_warned_of(of: Any, warns: bool) -> None:
    def make(width: int) -> nn.Module:
        parts = {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}
        return Net(lambda m, x: m.readout(of(m.stem(x))), **parts)

    plan = mt.plan(make(64), make(16), optimizer="adam", example_inputs=torch.randn(8, 5))
    assert ("unit-length" in warning_ids(plan)) == warns
