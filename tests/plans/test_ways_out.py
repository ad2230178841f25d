"""Refusals of sums over the width, and the ways out that their messages name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from tests.factors import table
from tests.models import Net, embedded, square

ROWS = torch.linspace(-1, 1, 10).view(2, 5)
Run = Callable[[Tensor, Tensor], Tensor]


def model(width: int, run: Run) -> nn.Module:
    """Build a function of two signals, each behind a nonlinearity."""
    torch.manual_seed(0)

    def forward(m: Any, x: Tensor) -> Tensor:
        return run(F.gelu(m.stem(x)), torch.tanh(m.other(x)))

    return Net(forward, stem=nn.Linear(5, width), other=nn.Linear(5, width))


def planned(run: Run) -> mt.Plan:
    return mt.plan(model(32, run), model(8, run), example_inputs=ROWS)


def attended(scale: float | None) -> Run:
    def run(a: Tensor, b: Tensor) -> Tensor:
        factor = a.shape[-1] ** -0.5 if scale is None else scale / a.shape[-1]
        return torch.softmax(a @ b.mT * factor, -1) @ ROWS

    return run


MEAN = r"no learned tensor can carry.*width\^-1 .*divide it by the number of its terms$"
WAYS_OUT: dict[str, tuple[Run, str, Run]] = {
    "a product": (lambda a, b: (a * b).sum(-1), MEAN, lambda a, b: (a * b).mean(-1)),
    "a squared distance": (
        lambda a, b: (a - b).pow(2).sum(-1),
        MEAN,
        lambda a, b: (a - b).pow(2).sum(-1) / a.shape[-1],
    ),
    "a sum": (
        lambda a, b: (a + b).sum(-1),
        r"sums a signal.*divide the sum by the number of its terms, as a mean does$",
        lambda a, b: (a + b).mean(-1),
    ),
    "a distance": (
        lambda a, b: torch.cdist(a, b),
        r"the length of a signal is 2 times the base's.*divide it by the root of the width$",
        lambda a, b: torch.cdist(a, b) / a.shape[-1] ** 0.5,
    ),
    "a length": (
        lambda a, b: (a - b).norm(dim=-1),
        r"the length of a signal is 2 times the base's.*divide it by the root of the width$",
        lambda a, b: (a - b).norm(dim=-1) / a.shape[-1] ** 0.5,
    ),
    "an attention": (
        attended(None),
        r"head dimension of an attention.*give scale=1/head_dim",
        attended(1.0),
    ),
}


@pytest.mark.parametrize(("run", "match", "mended"), WAYS_OUT.values(), ids=WAYS_OUT)
def test_the_way_out_of_a_refusal_is_planned(run: Run, match: str, mended: Run) -> None:
    with pytest.raises(mt.MutransferError, match=match):
        planned(run)
    assert planned(mended).tensors


def two_uses(width: int, own: bool) -> nn.Module:
    """Build words with a tied head and a value from one norm, or from a norm each."""

    def run(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(m.layer(m.token(x)))
        return m.head((m.gain if own else m.norm)(h)), m.value(m.norm(h))

    parts = {"gain": nn.LayerNorm(width), "value": nn.Linear(width, 1)}
    return embedded(width, run, **parts)


def test_a_norm_with_two_uses_is_named_and_one_of_its_own_is_the_way_out() -> None:
    refusal = r"norm\.bias and norm\.weight make, is used elsewhere.*a norm with a gain of its own"
    with pytest.raises(mt.MutransferError, match=refusal):
        mt.plan(two_uses(32, False), two_uses(8, False))
    plan = mt.plan(two_uses(32, True), two_uses(8, True))
    assert plan.tensors["gain.weight"].factor("init") == 0.25
    assert plan.tensors["norm.weight"].factor("init") == 1


def of_stacked_matrices(depth: int, *, apart: bool) -> nn.Module:
    """Build branches whose matrices are rows of one tensor, or of one for each matrix."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = m.stem(x)
        for i in range(depth):
            up, down = (m.up[i], m.down[i]) if apart else (m.both[i, 0], m.both[i, 1])
            h = h + F.gelu(F.layer_norm(h, (8,)) @ up) @ down
        return m.readout(h)

    ends: dict[str, Any] = {"stem": nn.Linear(5, 8), "readout": nn.Linear(8, 3)}
    shapes = {"up": (depth, 8, 8), "down": (depth, 8, 8)} if apart else {"both": (depth, 2, 8, 8)}
    return Net(run, **ends, **{name: nn.Parameter(torch.randn(s)) for name, s in shapes.items()})


def test_matrices_of_a_branch_in_one_tensor_need_one_each() -> None:
    refusal = r"ends in both, whose other parts.*make each part a tensor of its own"
    with pytest.raises(mt.MutransferError, match=refusal):
        mt.plan(*(of_stacked_matrices(n, apart=False) for n in (4, 2)), example_inputs=ROWS)
    plan = mt.plan(*(of_stacked_matrices(n, apart=True) for n in (4, 2)), example_inputs=ROWS)
    assert [plan.tensors[name].factor("init") for name in ("up", "down")] == [1, 0.5]


def distances(function: Run) -> mt.Plan:
    """Plan the distance of two signals that a matrix makes."""

    def make(width: int) -> nn.Module:
        torch.manual_seed(0)

        def run(m: Any, x: Tensor) -> Tensor:
            return function(m.layer(torch.relu(m.stem(x))), m.layer(torch.relu(m.stem(-x))))

        return Net(run, stem=nn.Linear(5, width), layer=square(width))

    return mt.plan(make(32), make(8), example_inputs=ROWS)


def test_the_eps_of_a_distance_does_not_matter() -> None:
    plain = distances(lambda a, b: (a - b).norm(dim=-1))
    assert table(distances(F.pairwise_distance)) == table(plain)
    with pytest.raises(mt.MutransferError, match="the length of a signal"):
        distances(lambda a, b: (a - b + 0.1).norm(dim=-1))
