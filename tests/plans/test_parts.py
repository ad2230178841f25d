"""Parts of one tensor that are used apart: of one role, or refused."""

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

Forward = Callable[[Any, Tensor], Tensor]


def planned(size: Callable[[int], tuple[int, ...]], forward: Forward) -> mt.Plan:
    """Plan a model with a parameter "whole" between a stem and a readout."""

    def build(width: int) -> nn.Module:
        model = Net(forward, stem=nn.Linear(5, width), readout=nn.Linear(width, 3))
        model.whole = nn.Parameter(torch.randn(size(width)))
        return model

    return mt.plan(build(64), build(16), example_inputs=torch.randn(8, 5))


def flat(m: Any, x: Tensor) -> Tensor:
    """Take a hidden matrix and its bias from one vector."""
    width = m.stem.out_features
    matrix, bias = m.whole.split([width * width, width])
    return m.readout(torch.relu(F.linear(torch.relu(m.stem(x)), matrix.view(width, width), bias)))


def columns(m: Any, x: Tensor) -> Tensor:
    """Take a matrix of the data and a hidden one from one matrix."""
    h = torch.relu(m.stem(x) + F.linear(x, m.whole[:, :5]))
    return m.readout(torch.relu(F.linear(h, m.whole[:, 5:])))


def rows(m: Any, x: Tensor) -> Tensor:
    """Take a hidden matrix and an output from one matrix."""
    h = torch.relu(m.stem(x))
    return m.readout(torch.relu(F.linear(h, m.whole[3:]))) + F.linear(h, m.whole[:3])


def gates(m: Any, x: Tensor) -> Tensor:
    """Take two hidden matrices from one."""
    one, other = m.whole.chunk(2)
    h = torch.relu(m.stem(x))
    return m.readout(torch.sigmoid(F.linear(h, one)) * F.linear(h, other))


def one_key(m: Any, x: Tensor) -> Tensor:
    """Take queries of several heads and one key from one matrix, at a fixed size of a head."""
    width, h = m.stem.out_features, torch.relu(m.stem(x))
    queries = F.linear(h, m.whole[:width]).view(len(x), -1, 4).transpose(0, 1)
    key = F.linear(h, m.whole[width:])
    mixed = (queries @ key.T).softmax(-1) @ h.view(len(x), -1, 4).transpose(0, 1)
    return m.readout(mixed.transpose(0, 1).reshape(len(x), width))


@pytest.mark.parametrize(
    ("size", "forward"),
    [
        (lambda width: (width * width + width,), flat),
        (lambda width: (width, width + 5), columns),
        (lambda width: (width + 3, width), rows),
    ],
    ids=["flat", "columns", "rows"],
)
def test_parts_of_different_roles_are_refused(
    size: Callable[[int], tuple[int, ...]], forward: Forward
) -> None:
    with pytest.raises(MutransferError, match="parts of whole are used in different ways"):
        planned(size, forward)


def test_rows_of_a_tied_table_are_looked_up() -> None:
    """A row for all places, as of a special token, is another look-up."""

    def build(width: int) -> nn.Module:
        def forward(m: Any, words: Tensor) -> Tensor:
            h = m.table(words) + m.table.weight[0]
            return m.norm(h + m.layer(h)) @ m.table.weight.T

        parts = {"layer": nn.Linear(width, width), "norm": nn.LayerNorm(width)}
        return Net(forward, table=nn.Embedding(12, width), **parts)

    plan = mt.plan(build(64), build(16), example_inputs=torch.randint(12, (2, 5)))
    assert factors(plan, "table.weight")[:2] == (1, 1)


@pytest.mark.parametrize(
    ("size", "forward"),
    [(lambda width: (2 * width, width), gates), (lambda width: (width + 4, width), one_key)],
    ids=["gates", "one key"],
)
def test_parts_of_one_role_are_hidden(
    size: Callable[[int], tuple[int, ...]], forward: Forward
) -> None:
    assert planned(size, forward)["whole"].role == "hidden"


def functional(cut: Callable[[Any, int], tuple[Tensor, ...]], *sizes: str) -> mt.Plan:
    """Plan a perceptron whose matrices are views of vectors alone."""

    def build(width: int) -> nn.Module:
        def forward(m: Any, x: Tensor) -> Tensor:
            first, hidden, last = cut(m, width)
            h = torch.relu(torch.relu(x @ first.view(5, width)) @ hidden.view(width, width))
            return h @ last.view(width, 3)

        model, numbers = Net(forward), (5 * width, width**2, 3 * width)
        if not sizes:
            model.whole = nn.Parameter(torch.randn(sum(numbers)))
        for name, number in zip(sizes, numbers, strict=False):
            setattr(model, name, nn.Parameter(torch.randn(number)))
        return model

    return mt.plan(build(64), build(16), example_inputs=torch.randn(8, 5))


def test_one_vector_of_all_matrices_is_refused() -> None:
    with pytest.raises(MutransferError, match="parts of whole are used in different ways"):
        functional(lambda m, width: m.whole.split([5 * width, width**2, 3 * width]))


def test_a_vector_for_each_matrix_is_planned_as_the_matrix() -> None:
    plan = functional(lambda m, _: (m.first, m.hidden, m.last), "first", "hidden", "last")
    roles = {name: plan[name].role for name in plan.tensors}
    assert roles == {"first": "input", "hidden": "hidden", "last": "readout"}
