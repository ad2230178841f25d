"""Sums on the stream that no branch scales: their number grows with depth, and is warned of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from tests.models import Net, repeat, square

ROWS = torch.linspace(-1, 1, 10).view(2, 5)
WIDTH = 8
Layer = Callable[[Any, int, Tensor, Tensor], Tensor]


def model(depth: int, layer: Layer, after: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """Build layers that take the stream and a signal of the data, and are told their number."""

    def run(m: Any, x: Tensor) -> Tensor:
        h, condition = m.stem(x), torch.tanh(m.time(x))
        for i in range(depth):
            h = layer(m, i, h, condition)
        return m.readout(after(h, condition))

    parts: dict[str, nn.Module] = {
        "stem": nn.Linear(5, WIDTH),
        "time": nn.Linear(5, WIDTH),
        "table": nn.Embedding(depth, WIDTH),
        "norms": repeat(depth, lambda: nn.LayerNorm(WIDTH)),
        "blocks": repeat(depth, lambda: square(WIDTH)),
        "others": repeat(depth, lambda: square(WIDTH)),
        "readout": nn.Linear(WIDTH, 3),
    }
    return Net(run, **parts)


def warned(layer: Layer, after: Callable[[Tensor, Tensor], Tensor] = lambda h, t: h) -> bool:
    plan = mt.plan(*(model(depth, layer, after) for depth in (4, 2)), example_inputs=ROWS)
    return any(warning.id == "mixed-stream" for warning in plan.warnings)


def branch(m: Any, i: int, h: Tensor) -> Tensor:
    return m.blocks[i](m.norms[i](h))


def attended(h: Tensor) -> Tensor:
    z = F.layer_norm(h, (WIDTH,))
    return h + torch.softmax(z @ z.mT / WIDTH, -1) @ z


UNSCALED: dict[str, Layer] = {
    "a condition": lambda m, i, h, t: h + branch(m, i, h) + t,
    "a condition before the branch": lambda m, i, h, t: (h + t) + branch(m, i, h),
    "a function of the stream": lambda m, i, h, t: h + branch(m, i, h) + torch.tanh(m.norms[i](h)),
    "an attention without tensors": lambda m, i, h, t: attended(h + branch(m, i, h)),
    "a row of a table": lambda m, i, h, t: h + branch(m, i, h) + m.table.weight[i],
    "a constant": lambda m, i, h, t: h + branch(m, i, h) + torch.linspace(0, 1, WIDTH),
}


@pytest.mark.parametrize("layer", UNSCALED.values(), ids=UNSCALED)
def test_a_sum_in_each_layer_that_no_branch_scales_is_warned_of(layer: Layer) -> None:
    assert warned(layer)


SCALED: dict[str, Layer] = {
    "a branch": lambda m, i, h, t: h + branch(m, i, h),
    "a condition in the branch": lambda m, i, h, t: h + m.blocks[i](m.norms[i](h) + t),
    "a row in the branch": lambda m, i, h, t: h + (branch(m, i, h) + m.table.weight[i]),
    "two branches": lambda m, i, h, t: h + branch(m, i, h) + m.others[i](m.norms[i](h)),
    "zeros": lambda m, i, h, t: h + branch(m, i, h) + torch.zeros(WIDTH),
}


@pytest.mark.parametrize("layer", SCALED.values(), ids=SCALED)
def test_sums_of_branches_alone_are_not_warned_of(layer: Layer) -> None:
    assert not warned(layer)


def test_a_condition_that_is_added_once_is_not_warned_of() -> None:
    assert not warned(SCALED["a branch"], after=lambda h, t: h + t)
